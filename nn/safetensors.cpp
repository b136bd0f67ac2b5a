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

/// A JSON value. The library's own would do, but for its destructor, which allocates and so may end the program.
struct Value {
  enum class Kind { object, list, text, whole, other } kind = Kind::other;
  std::string text = {};  // of a text; of other kinds as it stood there
  std::uint64_t number = 0;
  std::vector<std::pair<std::string, Value>> members = {};
  std::vector<Value> items = {};

  const Value* find(std::string_view key) const {
    for (const auto& [name, value] : members)
      if (name == key) return &value;
    return nullptr;
  }
  std::string described() const {
    switch (kind) {
      case Kind::object:
        return "{...}";
      case Kind::text:
        return '"' + text + '"';
      case Kind::list: {
        std::string all;
        for (const Value& item : items) all += (all.empty() ? "" : ",") + item.described();
        return '[' + all + ']';
      }
      default:
        return text;
    }
  }
};

/// Builds a Value from the parser's events. Nothing in a header is deeper than the numbers of a shape.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(const std::string& path) : path_(path) {}
  Value take() { return std::move(root_); }

  bool null() override { return add({.text = "null"}); }
  bool boolean(bool v) override { return add({.text = v ? "true" : "false"}); }
  bool number_integer(std::int64_t v) override { return add({.text = std::to_string(v)}); }
  bool number_unsigned(std::uint64_t v) override {
    return add({.kind = Value::Kind::whole, .text = std::to_string(v), .number = v});
  }
  bool number_float(double, const std::string& as_written) override { return add({.text = as_written}); }
  bool string(std::string& v) override { return add({.kind = Value::Kind::text, .text = std::move(v)}); }
  bool binary(Json::binary_t&) override { return false; }  // not in text
  bool start_object(std::size_t) override { return open(Value::Kind::object); }
  bool start_array(std::size_t) override { return open(Value::Kind::list); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& name) override {
    if (!keys_.back().insert(name).second) fail(path_, "header: \"" + name + "\" stands twice");
    key_ = std::move(name);
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const Json::exception& error) override {
    fail(path_, std::string("header: ") + error.what());
  }

 private:
  static constexpr std::size_t kDeepest = 4;

  Value& place(Value value) {
    if (open_.empty()) return root_ = std::move(value);
    Value& parent = *open_.back();
    if (parent.kind == Value::Kind::list) return parent.items.emplace_back(std::move(value));
    return parent.members.emplace_back(std::move(key_), std::move(value)).second;
  }
  bool add(Value value) {
    place(std::move(value));
    return true;
  }
  bool open(Value::Kind kind) {
    if (open_.size() == kDeepest) fail(path_, "header: lists or objects in each other, too deep");
    Value value;
    value.kind = kind;
    open_.push_back(&place(std::move(value)));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    open_.pop_back();
    keys_.pop_back();
    return true;
  }

  const std::string& path_;
  Value root_;
  std::vector<Value*> open_;  // a parent does not grow while a child of it is open
  std::vector<std::set<std::string>> keys_;
  std::string key_;
};

Value parse(const std::string& path, std::string_view text) {
  Builder builder(path);
  (void)Json::sax_parse(text, &builder);
  return builder.take();
}

std::uint64_t whole(const std::string& path, const std::string& where, const Value& value) {
  if (value.kind != Value::Kind::whole) fail(path, where + ": " + value.described() + " is not a whole number from 0");
  return value.number;
}

SafetensorsFile::Tensor read_entry(const std::string& path, const std::string& name, const Value& entry,
                                   std::span<const std::byte> data) {
  const std::string where = "\"" + name + "\"";
  const Value *dtype = entry.find("dtype"), *shape = entry.find("shape"), *offsets = entry.find("data_offsets");
  if (entry.members.size() != 3 || dtype == nullptr || shape == nullptr || offsets == nullptr)
    fail(path, where + ": expected dtype, shape and data_offsets");
  if (dtype->kind != Value::Kind::text) fail(path, where + ": dtype is not a string");
  SafetensorsFile::Tensor tensor{name, dtype->text, {}, {}};
  const std::size_t bytes = size_of(tensor.dtype);
  if (bytes == 0) fail(path, where + ": unknown dtype \"" + tensor.dtype + "\"");
  if (shape->kind != Value::Kind::list) fail(path, where + ": shape is not a list");
  std::uint64_t count = bytes;
  for (const Value& extent : shape->items) {
    const std::uint64_t n = whole(path, where + ": shape", extent);
    if (n > std::numeric_limits<Index>::max() || __builtin_mul_overflow(count, n, &count))
      fail(path, where + ": the shape " + shape->described() + " is too large");
    tensor.shape.push_back(static_cast<Index>(n));
  }
  if (offsets->kind != Value::Kind::list || offsets->items.size() != 2)
    fail(path, where + ": data_offsets are not two numbers");
  const std::uint64_t begin = whole(path, where + ": data_offsets", offsets->items[0]),
                      end = whole(path, where + ": data_offsets", offsets->items[1]);
  if (begin > end || end > data.size())
    fail(path, where + ": data_offsets " + offsets->described() + " are not inside the " + std::to_string(data.size()) +
                   " bytes of data");
  if (end - begin != count)
    fail(path, where + ": " + tensor.dtype + " of shape " + shape->described() + " has " + std::to_string(count) +
                   " bytes, but data_offsets " + offsets->described() + " hold " + std::to_string(end - begin));
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
  const Value header = parse(path, text);
  const auto data = bytes.subspan(sizeof length + length);
  for (const auto& [name, entry] : header.members) {
    if (name != "__metadata__") {
      data_->tensors.push_back(read_entry(path, name, entry, data));
      continue;
    }
    if (entry.kind != Value::Kind::object) fail(path, "__metadata__ is not an object");
    for (const auto& [key, value] : entry.members) {
      if (value.kind != Value::Kind::text) fail(path, "__metadata__: \"" + key + "\" is not a string");
      data_->metadata[key] = value.text;
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
  // Only single texts become JSON values, see Value.
  const auto quoted = [](const std::string& t) {
    try {
      return Json(t).dump();
    } catch (const Json::exception& error) {
      throw ValueError(std::string("save_safetensors: ") + error.what());
    }
  };
  std::string text = "{";
  const auto begin_member = [&](const std::string& name) {
    if (text.back() != '{') text += ',';
    text += quoted(name) + ':';
  };
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      begin_member(key);
      text += quoted(value);
    }
    text += '}';
  }
  std::uint64_t at = 0;
  std::set<std::string_view> names;
  std::vector<std::span<const std::byte>> pieces(2);
  for (const TensorToWrite& t : tensors) {
    std::uint64_t bytes = size_of(t.dtype);
    for (const Index extent : t.shape) bytes *= static_cast<std::uint64_t>(extent);
    if (bytes != t.data.size())
      throw ValueError("save_safetensors: \"" + t.name + "\" has " + std::to_string(t.data.size()) +
                       " bytes, its shape wants " + std::to_string(bytes));
    if (!names.insert(t.name).second) throw ValueError("save_safetensors: \"" + t.name + "\" stands twice");
    std::string shape;
    for (const Index extent : t.shape) shape += (shape.empty() ? "" : ",") + std::to_string(extent);
    begin_member(t.name);
    text += "{\"data_offsets\":[" + std::to_string(at) + ',' + std::to_string(at + bytes) + "],\"dtype\":\"" + t.dtype +
            "\",\"shape\":[" + shape + "]}";
    at += bytes;
    pieces.push_back(t.data);
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::vector<std::uint64_t> length{text.size()};
  pieces[0] = bytes_of(length);
  pieces[1] = bytes_of(text);
  write_atomically("save_safetensors", path, pieces);
}

}  // namespace tilewright::nn
