# xsimd, header-only and private; versions 8.1 to 13 are tested. Only its folder is taken, not its CMake package: the package of 8.1 in Debian 12 asks for
# a library that is not one (xtl), and a version in find_package would refuse 8.1 or 13, which both call themselves incompatible.
# The headers do not depend on the processor, so a cross build takes the host's, through a folder that holds nothing else.
find_path(TILEWRIGHT_XSIMD_INCLUDE_DIR xsimd/xsimd.hpp PATHS /usr/include /usr/local/include NO_CMAKE_FIND_ROOT_PATH
          DOC "Folder with xsimd/xsimd.hpp")
if(NOT TILEWRIGHT_XSIMD_INCLUDE_DIR)
  message(FATAL_ERROR "tilewright: xsimd not found; install libxsimd-dev or set TILEWRIGHT_XSIMD_INCLUDE_DIR")
endif()
file(STRINGS "${TILEWRIGHT_XSIMD_INCLUDE_DIR}/xsimd/config/xsimd_config.hpp" xsimd_version REGEX "define XSIMD_VERSION_M(AJOR|INOR)")
string(REGEX REPLACE "[^0-9]+" "." xsimd_version "${xsimd_version}")
string(REGEX REPLACE "^\\.|\\.$" "" xsimd_version "${xsimd_version}")
if(xsimd_version VERSION_LESS 8.1)
  message(FATAL_ERROR "tilewright: xsimd ${xsimd_version} is too old, 8.1 or newer is needed")
endif()
message(STATUS "tilewright: xsimd ${xsimd_version} in ${TILEWRIGHT_XSIMD_INCLUDE_DIR}")
function(tilewright_add_headers name folder)
  file(MAKE_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/${name}-include")
  file(CREATE_LINK "${folder}" "${CMAKE_CURRENT_BINARY_DIR}/${name}-include/${name}" SYMBOLIC)
endfunction()
tilewright_add_headers(xsimd "${TILEWRIGHT_XSIMD_INCLUDE_DIR}/xsimd")
add_library(tilewright_xsimd INTERFACE)
target_include_directories(tilewright_xsimd SYSTEM INTERFACE "${CMAKE_CURRENT_BINARY_DIR}/xsimd-include")

# The same for the JSON of safetensors files.
find_path(TILEWRIGHT_JSON_INCLUDE_DIR nlohmann/json.hpp PATHS /usr/include /usr/local/include NO_CMAKE_FIND_ROOT_PATH
          DOC "Folder with nlohmann/json.hpp")
if(NOT TILEWRIGHT_JSON_INCLUDE_DIR)
  message(FATAL_ERROR "tilewright: nlohmann's json not found; install nlohmann-json3-dev or set TILEWRIGHT_JSON_INCLUDE_DIR")
endif()
tilewright_add_headers(nlohmann "${TILEWRIGHT_JSON_INCLUDE_DIR}/nlohmann")
add_library(tilewright_json INTERFACE)
target_include_directories(tilewright_json SYSTEM INTERFACE "${CMAKE_CURRENT_BINARY_DIR}/nlohmann-include")
find_package(Threads REQUIRED)

if(TILEWRIGHT_OPENMP)
  find_package(OpenMP COMPONENTS CXX)
  if(NOT OpenMP_CXX_FOUND)
    message(FATAL_ERROR "tilewright: no OpenMP; install it or set TILEWRIGHT_OPENMP=OFF, which leaves the library its own threads")
  endif()
endif()
# Only for reading gzip files; without it they give a clear error.
find_package(ZLIB)
# Only for Intel VTune: operations are its tasks. Without it nothing is missing.
find_path(TILEWRIGHT_ITT_INCLUDE ittnotify.h DOC "Folder with ittnotify.h")
find_library(TILEWRIGHT_ITT_LIBRARY ittnotify DOC "Library that belongs to it")
mark_as_advanced(TILEWRIGHT_ITT_INCLUDE TILEWRIGHT_ITT_LIBRARY)
