// SPDX-License-Identifier: MIT
// The one place where the version is written; CMake reads it from here.
#pragma once

#define TILEWRIGHT_VERSION "0.1.0"
