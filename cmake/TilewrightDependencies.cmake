# xsimd, header-only and private. Versions 8.1 to 13 work; asking find_package for a version would refuse one or the other, as both call
# themselves incompatible. When cross-compiling, the host's headers are used through a folder that holds nothing else: they do not depend on
# the processor, but the host's include folder does.
find_package(xsimd QUIET)
add_library(tilewright_xsimd INTERFACE)
if(xsimd_FOUND AND NOT CMAKE_CROSSCOMPILING)
  if(xsimd_VERSION VERSION_LESS 8.1)
    message(FATAL_ERROR "tilewright: xsimd ${xsimd_VERSION} is too old, 8.1 or newer is needed")
  endif()
  target_link_libraries(tilewright_xsimd INTERFACE xsimd)
else()
  find_path(TILEWRIGHT_XSIMD_INCLUDE_DIR xsimd/xsimd.hpp PATHS /usr/include /usr/local/include NO_CMAKE_FIND_ROOT_PATH
            DOC "Folder with xsimd/xsimd.hpp")
  if(NOT TILEWRIGHT_XSIMD_INCLUDE_DIR)
    message(FATAL_ERROR "tilewright: xsimd not found; install libxsimd-dev or set TILEWRIGHT_XSIMD_INCLUDE_DIR")
  endif()
  file(MAKE_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/xsimd-include")
  file(CREATE_LINK "${TILEWRIGHT_XSIMD_INCLUDE_DIR}/xsimd" "${CMAKE_CURRENT_BINARY_DIR}/xsimd-include/xsimd" SYMBOLIC)
  target_include_directories(tilewright_xsimd SYSTEM INTERFACE "${CMAKE_CURRENT_BINARY_DIR}/xsimd-include")
endif()

if(TILEWRIGHT_OPENMP)
  find_package(OpenMP COMPONENTS CXX)
  if(NOT OpenMP_CXX_FOUND)
    message(FATAL_ERROR "tilewright: no OpenMP; install it or set TILEWRIGHT_OPENMP=OFF for one thread")
  endif()
endif()
# Only for reading gzip files; without it they give a clear error.
find_package(ZLIB)
