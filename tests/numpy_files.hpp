// SPDX-License-Identifier: MIT
// The bytes of NPY and NPZ files, right or wrong as a test wants them.
#pragma once

#include <cstdint>
#include <string>
#if defined(TILEWRIGHT_HAVE_ZLIB)
#include <zlib.h>
#endif

namespace tilewright::test {

/// The parts as they stand in the header, quotes and all.
inline std::string npy(const std::string& type, const std::string& order, const std::string& shape,
                       const std::string& data) {
  std::string header = "{'descr': " + type + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
  return std::string("\x93NUMPY\x01\0", 8) + static_cast<char>(header.size()) + '\0' + header + data;
}

#if defined(TILEWRIGHT_HAVE_ZLIB)
inline void put(std::string& to, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) to += i < 8 ? static_cast<char>(value >> (8 * i)) : '\0';
}

/// An archive of one file, stored or deflated.
inline std::string zip(const std::string& name, const std::string& content, bool deflated) {
  std::string packed = content;
  if (deflated) {
    z_stream stream{};
    deflateInit2(&stream, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
    packed.resize(deflateBound(&stream, content.size()));
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
    stream.avail_in = static_cast<uInt>(content.size());
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(packed.size());
    deflate(&stream, Z_FINISH);
    packed.resize(stream.total_out);
    deflateEnd(&stream);
  }
  std::string common;
  put(common, 20, 2);
  put(common, 0, 2);
  put(common, deflated ? 8 : 0, 2);
  put(common, 0, 4);
  put(common, crc32_z(0, reinterpret_cast<const Bytef*>(content.data()), content.size()), 4);
  put(common, packed.size(), 4);
  put(common, content.size(), 4);
  put(common, name.size(), 2);
  put(common, 0, 2);
  std::string file = "PK\x03\x04" + common + name + packed, all = file + "PK\x01\x02";
  put(all, 20, 2);
  all += common;
  put(all, 0, 10);
  put(all, 0, 4);
  all += name;
  const std::size_t size = all.size() - file.size();
  all += "PK\x05\x06";
  put(all, 0, 4);
  put(all, 1, 2);
  put(all, 1, 2);
  put(all, size, 4);
  put(all, file.size(), 4);
  put(all, 0, 2);
  return all;
}

#endif

}  // namespace tilewright::test
