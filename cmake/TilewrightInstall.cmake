# Headers, libraries, a relocatable CMake package and pkg-config files.
include(CMakePackageConfigHelpers)

install(TARGETS tilewright_kernels tilewright_nn EXPORT tilewright-targets
        LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(TARGETS tilewright-info RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(DIRECTORY include/tilewright DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/tilewright")
install(EXPORT tilewright-targets NAMESPACE tilewright:: DESTINATION "${package_dir}")
configure_package_config_file(cmake/tilewright-config.cmake.in tilewright-config.cmake INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file(tilewright-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/tilewright-config.cmake" "${CMAKE_CURRENT_BINARY_DIR}/tilewright-config-version.cmake"
        DESTINATION "${package_dir}")

# What a static library leaves to its user: OpenMP's runtime, threads and zlib.
set(kernels_private "")
if(TILEWRIGHT_OPENMP)
  set(kernels_private "${OpenMP_CXX_FLAGS}")
endif()
set(nn_private "-pthread")
if(ZLIB_FOUND)
  set(nn_private "-lz -pthread")
endif()
foreach(name kernels nn)
  configure_file(cmake/tilewright-${name}.pc.in tilewright-${name}.pc @ONLY)
  install(FILES "${CMAKE_CURRENT_BINARY_DIR}/tilewright-${name}.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endforeach()
