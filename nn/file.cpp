// SPDX-License-Identifier: MIT
#include "nn/file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace tilewright::nn {
namespace {

[[noreturn]] void fail(const char* operation, const std::string& path, const char* what, int error) {
  throw FileError(std::string(operation) + ": " + path + ": " + what + ": " + std::strerror(error));
}

/// Closes a descriptor at the end of a scope.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

}  // namespace

MappedFile::MappedFile(const char* operation, const std::string& path) {
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) fail(operation, path, "cannot open", errno);
  struct stat status {};
  if (fstat(file.fd, &status) != 0) fail(operation, path, "cannot stat", errno);
  if (!S_ISREG(status.st_mode)) throw FileError(std::string(operation) + ": " + path + ": is not a regular file");
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return;
  void* map = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (map == MAP_FAILED) fail(operation, path, "cannot map", errno);
  bytes_ = {static_cast<const std::byte*>(map), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

void write_atomically(const char* operation, const std::string& path,
                      std::span<const std::span<const std::byte>> pieces) {
  const std::string temporary = path + ".new-" + std::to_string(getpid());
  const auto give_up = [&](const char* what) {
    const int error = errno;
    unlink(temporary.c_str());
    fail(operation, path, what, error);
  };
  {
    const Descriptor file{open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)};
    if (file.fd < 0) fail(operation, temporary, "cannot create", errno);
    for (std::span<const std::byte> piece : pieces)
      while (!piece.empty()) {
        const ssize_t done = write(file.fd, piece.data(), piece.size());
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) give_up("cannot write");
        piece = piece.subspan(static_cast<std::size_t>(done));
      }
    if (fsync(file.fd) != 0) give_up("cannot sync");
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) give_up("cannot rename");
  // The rename itself reaches the disk with its folder.
  const std::size_t slash = path.rfind('/');
  const Descriptor folder{
      open(slash == std::string::npos ? "." : path.substr(0, slash + 1).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (folder.fd >= 0) fsync(folder.fd);
}

}  // namespace tilewright::nn
