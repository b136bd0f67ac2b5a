// SPDX-License-Identifier: MIT
// NPY: "\x93NUMPY", version, the length of a header, a Python dictionary, the numbers. NPZ: a zip archive of them.
#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include "nn/file.hpp"
#include "tilewright/nn/tables.hpp"

#if defined(TILEWRIGHT_HAVE_ZLIB)
#include <zlib.h>
#endif

namespace tilewright::nn {
namespace {

using Bytes = std::span<const std::byte>;

template <class T>
T little(Bytes bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

struct Place {
  const char* operation;
  std::string path;
  [[noreturn]] void fail(const std::string& what) const {
    throw FileError(std::string(operation) + ": " + path + ": " + what);
  }
};

/// What stands behind 'key': in the header's dictionary.
std::string_view value_of(const Place& place, std::string_view header, const std::string& key) {
  const std::size_t found = header.find("'" + key + "':");
  if (found == std::string_view::npos) place.fail("the header has no '" + key + "'");
  std::string_view rest = header.substr(found + key.size() + 3);
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  return rest;
}

Shape parse_shape(const Place& place, std::string_view text) {
  std::vector<Index> extents;
  if (!text.starts_with('(')) place.fail("the shape is not a tuple");
  for (std::size_t at = 1; at < text.size();) {
    if (text[at] == ')') {
      if (extents.size() > 6) place.fail("the shape has more than 6 dimensions");
      const auto e = [&](std::size_t i) { return extents[i]; };
      try {
        switch (extents.size()) {
          case 0:
            return {};
          case 1:
            return {e(0)};
          case 2:
            return {e(0), e(1)};
          case 3:
            return {e(0), e(1), e(2)};
          case 4:
            return {e(0), e(1), e(2), e(3)};
          case 5:
            return {e(0), e(1), e(2), e(3), e(4)};
          default:
            return {e(0), e(1), e(2), e(3), e(4), e(5)};
        }
      } catch (const ShapeError& error) {
        place.fail(error.what());
      }
    }
    if (text[at] == ',' || text[at] == ' ') {
      ++at;
      continue;
    }
    Index value = -1;
    const auto result = std::from_chars(text.data() + at, text.data() + text.size(), value);
    if (result.ec != std::errc() || value < 0) place.fail("the shape holds something that is not a length");
    extents.push_back(value);
    at = static_cast<std::size_t>(result.ptr - text.data());
  }
  place.fail("the shape does not end");
}

template <class T>
void convert(Bytes data, bool swap, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    unsigned char raw[sizeof(T)];
    std::memcpy(raw, data.data() + i * sizeof(T), sizeof(T));
    if (swap) std::reverse(raw, raw + sizeof(T));
    T value;
    std::memcpy(&value, raw, sizeof value);
    out[i] = static_cast<float>(value);
  }
}

using Convert = void (*)(Bytes, bool, std::span<float>);
struct Kind {
  const char* name;
  std::size_t bytes;
  Convert convert;
};
constexpr Kind kKinds[] = {
    {"f4", 4, convert<float>},         {"f8", 8, convert<double>},        {"i1", 1, convert<std::int8_t>},
    {"i2", 2, convert<std::int16_t>},  {"i4", 4, convert<std::int32_t>},  {"i8", 8, convert<std::int64_t>},
    {"u1", 1, convert<std::uint8_t>},  {"u2", 2, convert<std::uint16_t>}, {"u4", 4, convert<std::uint32_t>},
    {"u8", 8, convert<std::uint64_t>}, {"b1", 1, convert<std::uint8_t>}};

/// Columns first to rows first.
void turn(const Shape& shape, std::span<float> values) {
  const std::vector<float> from(values.begin(), values.end());
  for (std::size_t i = 0; i < from.size(); ++i) {
    Index rest = static_cast<Index>(i), to = 0;
    Index place[6] = {};
    for (Index axis = 0; axis < shape.rank(); ++axis) {
      place[axis] = rest % shape[axis];
      rest /= shape[axis];
    }
    for (Index axis = 0; axis < shape.rank(); ++axis) to = to * shape[axis] + place[axis];
    values[static_cast<std::size_t>(to)] = from[i];
  }
}

Tensor<float> parse_npy(const Place& place, Bytes bytes) {
  if (bytes.size() < 10 || std::memcmp(bytes.data(), "\x93NUMPY", 6) != 0)
    place.fail("byte 0: expected \\x93NUMPY and a version");
  const auto version = static_cast<int>(bytes[6]);
  if (version < 1 || version > 3) place.fail("byte 6: format version " + std::to_string(version) + ", expected 1 to 3");
  const std::size_t start = version == 1 ? 10 : 12;
  if (bytes.size() < start) place.fail("byte 8: the header ends too early");
  const std::size_t length = version == 1 ? little<std::uint16_t>(bytes, 8) : little<std::uint32_t>(bytes, 8);
  if (length > bytes.size() - start)
    place.fail("byte 8: the header is said to have " + std::to_string(length) + " bytes, the file ends before");
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + start, length);
  const std::string_view type = value_of(place, header, "descr"), order = value_of(place, header, "fortran_order");
  const Kind* kind = nullptr;
  for (const Kind& k : kKinds)
    if (type.size() > 4 && type.substr(2, 3) == std::string(k.name) + "'") kind = &k;
  if (kind == nullptr || type[0] != '\'' || std::string_view("<>|=").find(type[1]) == std::string_view::npos)
    place.fail("the type " + std::string(type.substr(0, 8)) + " is not one of f4 f8 i1..i8 u1..u8 b1");
  if (!order.starts_with("True") && !order.starts_with("False")) place.fail("fortran_order is neither True nor False");
  const Shape shape = parse_shape(place, value_of(place, header, "shape"));
  const Bytes data = bytes.subspan(start + length);
  const auto count = static_cast<std::size_t>(shape.size());
  if (data.size() / kind->bytes < count || data.size() != count * kind->bytes)
    place.fail("byte " + std::to_string(start + length) + ": " + std::to_string(data.size()) +
               " bytes of data, expected " + shape.to_string() + " numbers of " + std::to_string(kind->bytes));
  Tensor<float> tensor(shape);
  kind->convert(data, type[1] == '>', tensor.span());
  if (order.starts_with("True") && shape.rank() > 1) turn(shape, tensor.span());
  return tensor;
}

/// One file of an archive, as its central directory describes it.
struct Entry {
  std::string name;
  unsigned method;
  std::uint32_t checksum;
  std::size_t packed, size, offset;
};

std::vector<Entry> directory(const Place& place, Bytes zip) {
  constexpr std::size_t kEnd = 22;  // bytes of the end record, without a comment
  std::size_t end = zip.size() < kEnd ? 0 : zip.size() - kEnd + 1;
  while (end > 0 && little<std::uint32_t>(zip, end - 1) != 0x06054b50) --end;
  if (end == 0) place.fail("is not a zip archive");
  --end;
  const std::size_t count = little<std::uint16_t>(zip, end + 10);
  std::size_t at = little<std::uint32_t>(zip, end + 16);
  std::vector<Entry> entries;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string where = "entry " + std::to_string(i);
    if (at > zip.size() || zip.size() - at < 46 || little<std::uint32_t>(zip, at) != 0x02014b50)
      place.fail(where + ": no directory record at byte " + std::to_string(at));
    Entry e{"",
            little<std::uint16_t>(zip, at + 10),
            little<std::uint32_t>(zip, at + 16),
            little<std::uint32_t>(zip, at + 20),
            little<std::uint32_t>(zip, at + 24),
            little<std::uint32_t>(zip, at + 42)};
    const std::size_t name = little<std::uint16_t>(zip, at + 28), extra = little<std::uint16_t>(zip, at + 30),
                      comment = little<std::uint16_t>(zip, at + 32);
    if (name > zip.size() - at - 46) place.fail(where + ": its name ends after the file");
    e.name.assign(reinterpret_cast<const char*>(zip.data()) + at + 46, name);
    if (e.packed == 0xffffffff || e.size == 0xffffffff || e.offset == 0xffffffff)
      place.fail("\"" + e.name + "\": larger than 4 GiB, which is not supported");
    entries.push_back(std::move(e));
    at += 46 + name + extra + comment;
  }
  return entries;
}

/// The packed bytes of an entry, behind its local header.
Bytes packed_bytes(const Place& place, Bytes zip, const Entry& e) {
  if (e.offset > zip.size() || zip.size() - e.offset < 30 || little<std::uint32_t>(zip, e.offset) != 0x04034b50)
    place.fail("\"" + e.name + "\": no file at byte " + std::to_string(e.offset));
  const std::size_t start =
      e.offset + 30 + little<std::uint16_t>(zip, e.offset + 26) + little<std::uint16_t>(zip, e.offset + 28);
  if (start > zip.size() || e.packed > zip.size() - start) place.fail("\"" + e.name + "\": ends after the file");
  return zip.subspan(start, e.packed);
}

Tensor<float> parse_entry(const Place& place, Bytes zip, const Entry& e) {
  const Place inside{place.operation, place.path + ": \"" + e.name + "\""};
  const Bytes packed = packed_bytes(place, zip, e);
  if (e.method == 0) {
    if (e.packed != e.size) inside.fail("is stored, but its sizes differ");
#if defined(TILEWRIGHT_HAVE_ZLIB)
    if (crc32_z(0, reinterpret_cast<const Bytef*>(packed.data()), packed.size()) != e.checksum)
      inside.fail("its checksum is wrong");
#endif
    return parse_npy(inside, packed);
  }
  if (e.method != 8) inside.fail("compression " + std::to_string(e.method) + " is not supported");
#if defined(TILEWRIGHT_HAVE_ZLIB)
  if (e.size / 1040 > e.packed)
    inside.fail("claims to be " + std::to_string(e.size) + " bytes, more than deflate can pack");
  std::vector<std::byte> unpacked(e.size);
  z_stream stream{};
  if (inflateInit2(&stream, -15) != Z_OK) throw std::bad_alloc();
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(unpacked.data());
  stream.avail_out = static_cast<uInt>(unpacked.size());
  const int result = inflate(&stream, Z_FINISH);
  const bool whole = result == Z_STREAM_END && stream.avail_out == 0;
  inflateEnd(&stream);
  if (!whole || crc32_z(0, reinterpret_cast<const Bytef*>(unpacked.data()), unpacked.size()) != e.checksum)
    inside.fail("cannot be decompressed to its " + std::to_string(e.size) + " bytes");
  return parse_npy(inside, unpacked);
#else
  inside.fail("is compressed, and this build of tilewright has no zlib");
#endif
}

}  // namespace

Tensor<float> read_npy(const std::string& path) {
  const MappedFile file("read_npy", path);
  return parse_npy({"read_npy", path}, file.bytes());
}

void save_npy(const std::string& path, const Tensor<float>& tensor) {
  std::string shape;
  for (Index axis = 0; axis < tensor.shape().rank(); ++axis) shape += std::to_string(tensor.shape()[axis]) + ",";
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10 - 1, ' ');
  header += '\n';
  std::string head = "\x93NUMPY";
  head += {'\x01', '\x00', static_cast<char>(header.size() & 255), static_cast<char>(header.size() >> 8)};
  head += header;
  const Bytes pieces[] = {bytes_of(head), std::as_bytes(tensor.span())};
  write_atomically("save_npy", path, pieces);
}

std::map<std::string, Tensor<float>> read_npz(const std::string& path) {
  const MappedFile file("read_npz", path);
  const Place place{"read_npz", path};
  std::map<std::string, Tensor<float>> all;
  for (const Entry& entry : directory(place, file.bytes())) {
    std::string name = entry.name;
    if (name.ends_with(".npy")) name.resize(name.size() - 4);
    if (all.contains(name)) place.fail("\"" + name + "\" stands twice");
    all.emplace(std::move(name), parse_entry(place, file.bytes(), entry));
  }
  return all;
}

}  // namespace tilewright::nn
