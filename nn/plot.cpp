// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "nn/file.hpp"
#include "tilewright/nn/trainer.hpp"

namespace tilewright::nn {
namespace {

constexpr double kWidth = 720, kHeight = 420, kLeft = 70, kRight = 150, kTop = 40, kBottom = 55;
constexpr const char* kColours[] = {"#1f77b4", "#d62728", "#2ca02c", "#9467bd",
                                    "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f"};

std::string escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else
      out += c;
  }
  return out;
}

/// The step of an axis: 1, 2 or 5 times a power of ten, about five steps in all.
double tick_of(double range) {
  const double power = std::pow(10, std::floor(std::log10(range / 5)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (range / (factor * power) <= 6) return factor * power;
  return 10 * power;
}

template <class... Values>
void print(std::string& to, const char* format, Values... values) {
  char text[512];
  std::snprintf(text, sizeof text, format, values...);
  to += text;
}

}  // namespace

void save_svg(const std::string& path, const std::string& title, const std::string& x_label, const std::string& y_label,
              const std::vector<Series>& series) {
  double low = INFINITY, high = -INFINITY, length = 1;
  for (const Series& s : series) {
    length = std::max(length, static_cast<double>(s.y.size()));
    for (const double v : s.y)
      if (std::isfinite(v)) low = std::min(low, v), high = std::max(high, v);
  }
  if (!(low <= high)) low = 0, high = 1;
  if (low > 0 && low < high / 2) low = 0;
  if (high - low < 1e-12 * std::max(1.0, std::fabs(high))) low -= 0.5, high += 0.5;
  const auto x_at = [&](double i) {
    return kLeft + (kWidth - kLeft - kRight) * (length > 1 ? (i - 1) / (length - 1) : 0.5);
  };
  const auto y_at = [&](double v) { return kHeight - kBottom - (kHeight - kTop - kBottom) * (v - low) / (high - low); };
  std::string svg;
  print(
      svg,
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" font-family=\"sans-serif\" font-size=\"12\">\n",
      kWidth, kHeight);
  svg += "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
  const auto text = [&](double x, double y, const char* more, const std::string& what) {
    print(svg, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, more);
    svg += escape(what) + "</text>\n";
  };
  text(kLeft, 24, "font-size=\"16\"", title);
  const double y_tick = tick_of(high - low), x_tick = std::max(1.0, tick_of(length));
  for (double v = std::ceil(low / y_tick) * y_tick; v <= high + y_tick / 1e6; v += y_tick) {
    print(svg, "<line x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", kLeft, kWidth - kRight, y_at(v),
          y_at(v));
    char label[32];
    std::snprintf(label, sizeof label, "%.4g", std::fabs(v) < y_tick / 1e6 ? 0 : v);
    text(kLeft - 8, y_at(v) + 4, "text-anchor=\"end\"", label);
  }
  for (double i = 1; i <= length; i = i == 1 && x_tick > 1 ? x_tick : i + x_tick)
    text(x_at(i), kHeight - kBottom + 18, "text-anchor=\"middle\"", std::to_string(static_cast<long>(i)));
  print(svg, "<path d=\"M%g %gV%gH%g\" fill=\"none\" stroke=\"black\"/>\n", kLeft, kTop, kHeight - kBottom,
        kWidth - kRight);
  text((kLeft + kWidth - kRight) / 2, kHeight - 14, "text-anchor=\"middle\"", x_label);
  print(svg, "<g transform=\"translate(18 %g) rotate(-90)\">", kHeight / 2);
  text(0, 0, "text-anchor=\"middle\"", y_label);
  svg += "</g>\n";
  double legend = kTop + 10;
  for (std::size_t s = 0; s < series.size(); ++s) {
    const char* colour = kColours[s % std::size(kColours)];
    std::string points;
    bool pen_down = false, any = false;
    for (std::size_t i = 0; i < series[s].y.size(); ++i) {
      const double v = series[s].y[i];
      if (std::isfinite(v)) {
        print(points, "%c%.2f %.2f", pen_down ? 'L' : 'M', x_at(static_cast<double>(i + 1)), y_at(v));
        any = true;
      }
      pen_down = std::isfinite(v);
    }
    if (!any) continue;
    print(svg, "<path fill=\"none\" stroke-width=\"2\" stroke=\"%s\" d=\"", colour);
    svg += points + "\"/>\n";
    print(svg, "<line x1=\"%g\" x2=\"%g\" y1=\"%g\" y2=\"%g\" stroke-width=\"2\" stroke=\"%s\"/>\n",
          kWidth - kRight + 12, kWidth - kRight + 34, legend, legend, colour);
    text(kWidth - kRight + 40, legend + 4, "", series[s].name);
    legend += 20;
  }
  svg += "</svg>\n";
  const std::span<const std::byte> piece = bytes_of(svg);
  write_atomically("save_svg", path, {&piece, 1});
}

}  // namespace tilewright::nn
