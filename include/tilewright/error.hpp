// SPDX-License-Identifier: MIT
// What the library throws. Every message starts with the operation and gives the values that were wrong,
// for example "gemm: a is 3x4 but b is 5x2". Errors are thrown before any thread starts and before any output changes.
#pragma once

#include <stdexcept>
#include <string>

#include "tilewright/export.hpp"

namespace tilewright {

/// Base of all errors of this library. Running out of memory is std::bad_alloc.
class TILEWRIGHT_API Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  ~Error() override;
};

/// Operands do not fit together, or a view overlaps itself.
class TILEWRIGHT_API ShapeError : public Error {
 public:
  using Error::Error;
  ~ShapeError() override;
};

/// An option, index, name or environment variable is out of its range.
class TILEWRIGHT_API ValueError : public Error {
 public:
  using Error::Error;
  ~ValueError() override;
};

/// A file is missing, truncated or malformed; the message names the file, the place and what was expected.
class TILEWRIGHT_API FileError : public Error {
 public:
  using Error::Error;
  ~FileError() override;
};

}  // namespace tilewright
