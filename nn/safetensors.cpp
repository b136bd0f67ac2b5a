// SPDX-License-Identifier: MIT
// The format: 8 bytes, the header's length; the header, JSON {"name": {"dtype", "shape", "data_offsets"}}; the data.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "nn/file.hpp"
#include "tilewright/nn/files.hpp"

namespace tilewright::nn {
namespace {

using Json = nlohmann::json;
constexpr const char* kRead = "SafetensorsFile";
/// What other readers allow.
constexpr std::uint64_t kLargestHeader = 100'000'000;

struct Type {
  const char* name;
  std::size_t bytes;
};
constexpr Type kTypes[] = {{"F64", 8}, {"I64", 8},     {"U64", 8},     {"C64", 8}, {"F32", 4}, {"I32", 4},
                           {"U32", 4}, {"F16", 2},     {"BF16", 2},    {"I16", 2}, {"U16", 2}, {"I8", 1},
                           {"U8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"BOOL", 1}};

std::size_t size_of(std::string_view dtype) {
  for (const Type& type : kTypes)
    if (dtype == type.name) return type.bytes;
  return 0;
}

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw FileError(std::string(kRead) + ": " + path + ": " + what);
}

/// The header as JSON; a key that stands twice in one object is an error.
Json parse(const std::string& path, std::string_view text) {
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    using Event = Json::parse_event_t;
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(value.get<std::string>()).second)
      fail(path, "header: \"" + value.get<std::string>() + "\" stands twice");
    return true;
  };
  try {
    return Json::parse(text, watch);
  } catch (const Json::exception& error) {
    fail(path, std::string("header: ") + error.what());
  }
}

std::uint64_t whole(const std::string& path, const std::string& where, const Json& value) {
  if (!value.is_number_unsigned()) fail(path, where + ": " + value.dump() + " is not a whole number from 0");
  return value.get<std::uint64_t>();
}

SafetensorsFile::Tensor read_entry(const std::string& path, const std::string& name, const Json& entry,
                                   std::span<const std::byte> data) {
  const std::string where = "\"" + name + "\"";
  if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets"))
    fail(path, where + ": expected dtype, shape and data_offsets");
  if (!entry["dtype"].is_string()) fail(path, where + ": dtype is not a string");
  SafetensorsFile::Tensor tensor{name, entry["dtype"].get<std::string>(), {}, {}};
  const std::size_t bytes = size_of(tensor.dtype);
  if (bytes == 0) fail(path, where + ": unknown dtype \"" + tensor.dtype + "\"");
  if (!entry["shape"].is_array()) fail(path, where + ": shape is not a list");
  std::uint64_t count = bytes;
  for (const Json& extent : entry["shape"]) {
    const std::uint64_t n = whole(path, where + ": shape", extent);
    if (n > std::numeric_limits<Index>::max() || __builtin_mul_overflow(count, n, &count))
      fail(path, where + ": the shape " + entry["shape"].dump() + " is too large");
    tensor.shape.push_back(static_cast<Index>(n));
  }
  const Json& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2) fail(path, where + ": data_offsets are not two numbers");
  const std::uint64_t begin = whole(path, where + ": data_offsets", offsets[0]),
                      end = whole(path, where + ": data_offsets", offsets[1]);
  if (begin > end || end > data.size())
    fail(path, where + ": data_offsets " + offsets.dump() + " are not inside the " + std::to_string(data.size()) +
                   " bytes of data");
  if (end - begin != count)
    fail(path, where + ": " + tensor.dtype + " of shape " + entry["shape"].dump() + " has " + std::to_string(count) +
                   " bytes, but data_offsets " + offsets.dump() + " hold " + std::to_string(end - begin));
  tensor.data = data.subspan(begin, count);
  return tensor;
}

float from_half(std::uint16_t h) {
  const int exponent = h >> 10 & 31, mantissa = h & 1023;
  const float magnitude = exponent == 31  ? (mantissa == 0 ? INFINITY : NAN)
                          : exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                          : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  return (h & 0x8000) != 0 ? -magnitude : magnitude;
}

template <class From, class To, class Convert>
void convert_all(std::span<const std::byte> data, std::span<To> out, Convert convert) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    From v;
    std::memcpy(&v, data.data() + i * sizeof v, sizeof v);
    out[i] = static_cast<To>(convert(v));
  }
}

template <class To>
void read_numbers(const std::string& path, const SafetensorsFile::Tensor& tensor, std::span<To> out) {
  const std::size_t bytes = size_of(tensor.dtype);
  if (tensor.data.size() != out.size() * bytes)
    fail(path, "\"" + tensor.name + "\": has " + std::to_string(tensor.data.size() / bytes) + " numbers, expected " +
                   std::to_string(out.size()));
  const auto same = [](auto v) { return v; };
  const std::string_view type = tensor.dtype;
  if (type == "F32") return convert_all<float>(tensor.data, out, same);
  if (type == "F64") return convert_all<double>(tensor.data, out, same);
  if (type == "I64") return convert_all<std::int64_t>(tensor.data, out, same);
  if (type == "U64") return convert_all<std::uint64_t>(tensor.data, out, same);
  if (type == "I32") return convert_all<std::int32_t>(tensor.data, out, same);
  if (type == "U32") return convert_all<std::uint32_t>(tensor.data, out, same);
  if (type == "I16") return convert_all<std::int16_t>(tensor.data, out, same);
  if (type == "U16") return convert_all<std::uint16_t>(tensor.data, out, same);
  if (type == "I8") return convert_all<std::int8_t>(tensor.data, out, same);
  if (type == "U8" || type == "BOOL") return convert_all<std::uint8_t>(tensor.data, out, same);
  if (type == "F16") return convert_all<std::uint16_t>(tensor.data, out, from_half);
  if (type == "BF16")
    return convert_all<std::uint16_t>(tensor.data, out,
                                      [](std::uint16_t v) { return std::bit_cast<float>(std::uint32_t{v} << 16); });
  fail(path, "\"" + tensor.name + "\": " + tensor.dtype + " cannot be converted");
}

}  // namespace

struct SafetensorsFile::Data {
  std::string path;
  MappedFile file;
  std::vector<Tensor> tensors;
  Metadata metadata;
};

SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;

SafetensorsFile::SafetensorsFile(const std::string& path)
    : data_(std::make_unique<Data>(Data{path, MappedFile(kRead, path), {}, {}})) {
  const std::span<const std::byte> bytes = data_->file.bytes();
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length)
    fail(path, "has " + std::to_string(bytes.size()) + " bytes, expected a header of 8 and more");
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > kLargestHeader || length > bytes.size() - sizeof length)
    fail(path, "byte 0: the header's length " + std::to_string(length) + " is more than the file or the limit of " +
                   std::to_string(kLargestHeader) + " allows");
  const std::string_view text = data_->file.text().substr(sizeof length, length);
  if (!text.starts_with('{')) fail(path, "byte 8: the header does not begin with {");
  const Json header = parse(path, text);
  const auto data = bytes.subspan(sizeof length + length);
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") {
      data_->tensors.push_back(read_entry(path, name, entry, data));
      continue;
    }
    if (!entry.is_object()) fail(path, "__metadata__ is not an object");
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) fail(path, "__metadata__: \"" + key + "\" is not a string");
      data_->metadata[key] = value.get<std::string>();
    }
  }
  auto& tensors = data_->tensors;
  std::ranges::stable_sort(tensors, {}, [](const Tensor& t) { return std::pair(t.data.data(), t.data.size()); });
  const std::byte* at = data.data();
  for (const Tensor& tensor : tensors) {
    if (tensor.data.data() != at)
      fail(path, "\"" + tensor.name + "\": begins at " + std::to_string(tensor.data.data() - data.data()) +
                     " of the data, expected " + std::to_string(at - data.data()) + ": a hole or an overlap");
    at += tensor.data.size();
  }
  if (at != data.data() + data.size())
    fail(path, std::to_string(data.data() + data.size() - at) + " bytes at the end belong to no tensor");
}

const std::string& SafetensorsFile::path() const { return data_->path; }
std::span<const SafetensorsFile::Tensor> SafetensorsFile::tensors() const { return data_->tensors; }
const Metadata& SafetensorsFile::metadata() const { return data_->metadata; }

bool SafetensorsFile::contains(std::string_view name) const {
  return std::ranges::any_of(data_->tensors, [&](const Tensor& t) { return t.name == name; });
}

const SafetensorsFile::Tensor& SafetensorsFile::operator[](std::string_view name) const {
  for (const Tensor& tensor : data_->tensors)
    if (tensor.name == name) return tensor;
  fail(path(), "there is no \"" + std::string(name) + "\"");
}

void SafetensorsFile::read(const Tensor& tensor, std::span<float> out) const { read_numbers(path(), tensor, out); }
void SafetensorsFile::read(const Tensor& tensor, std::span<double> out) const { read_numbers(path(), tensor, out); }

void save_safetensors(const std::string& path, std::vector<TensorToWrite> tensors, const Metadata& metadata) {
  // The reference writes the widest types first, so that everything is aligned, and then by name.
  std::ranges::sort(tensors, [](const TensorToWrite& a, const TensorToWrite& b) {
    const std::size_t wide = size_of(a.dtype), other = size_of(b.dtype);
    return wide != other ? wide > other : a.name < b.name;
  });
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t at = 0;
  std::vector<std::span<const std::byte>> pieces(2);
  for (const TensorToWrite& t : tensors) {
    std::uint64_t bytes = size_of(t.dtype);
    for (const Index extent : t.shape) bytes *= static_cast<std::uint64_t>(extent);
    if (bytes != t.data.size())
      throw ValueError("save_safetensors: \"" + t.name + "\" has " + std::to_string(t.data.size()) +
                       " bytes, its shape wants " + std::to_string(bytes));
    if (header.contains(t.name)) throw ValueError("save_safetensors: \"" + t.name + "\" stands twice");
    header[t.name] = {{"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {at, at + bytes}}};
    at += bytes;
    pieces.push_back(t.data);
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::exception& error) {
    throw ValueError(std::string("save_safetensors: ") + error.what());
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::vector<std::uint64_t> length{text.size()};
  pieces[0] = bytes_of(length);
  pieces[1] = bytes_of(text);
  write_atomically("save_safetensors", path, pieces);
}

}  // namespace tilewright::nn
