// SPDX-License-Identifier: MIT
// Files as the readers and writers of nn see them.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tilewright/error.hpp"

namespace tilewright::nn {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files hold little-endian numbers");

/// A whole file, mapped into memory.
class MappedFile {
 public:
  /// Throws FileError: "operation: path: why".
  MappedFile(const char* operation, const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  std::span<const std::byte> bytes() const { return bytes_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }

 private:
  std::span<const std::byte> bytes_;
};

/// Writes the pieces to a temporary file beside `path`, syncs it and renames it: path holds the old bytes or all of the
/// new ones, whenever the machine stops. Throws FileError, and leaves nothing behind.
void write_atomically(const char* operation, const std::string& path,
                      std::span<const std::span<const std::byte>> pieces);

template <class T>
std::span<const std::byte> bytes_of(const T& contiguous) {
  return std::as_bytes(std::span(contiguous.data(), contiguous.size()));
}

}  // namespace tilewright::nn
