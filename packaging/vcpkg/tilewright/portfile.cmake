# An overlay port of the tree it stands in: vcpkg install tilewright --overlay-ports=packaging/vcpkg
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

vcpkg_cmake_configure(SOURCE_PATH "${SOURCE_PATH}" OPTIONS -DTILEWRIGHT_DEVELOPER=OFF -DTILEWRIGHT_INSTALL=ON)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME tilewright CONFIG_PATH lib/cmake/tilewright)
vcpkg_fixup_pkgconfig()
vcpkg_copy_tools(TOOL_NAMES tilewright-info AUTO_CLEAN)
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug/include")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
