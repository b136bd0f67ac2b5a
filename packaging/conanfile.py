# SPDX-License-Identifier: MIT
"""Conan 2 recipe of the tree it stands in: conan create packaging"""
import pathlib
import re

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load


class TilewrightConan(ConanFile):
    name = "tilewright"
    license = "MIT"
    description = "CPU kernels for neural networks, with layers and optimizers on top"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False], "openmp": [True, False]}
    default_options = {"shared": True, "openmp": True}
    requires = "xsimd/[>=8.1]", "nlohmann_json/[>=3.10]", "zlib/[>=1.2]"

    @property
    def _tree(self):
        return pathlib.Path(self.recipe_folder).parent

    def set_version(self):
        text = load(self, str(self._tree / "include/tilewright/version.hpp"))
        self.version = re.search(r'TILEWRIGHT_VERSION "(.*)"', text)[1]

    def export_sources(self):
        for pattern in ("include/*", "kernels/*", "nn/*", "cmake/*", "bench/info.cpp", "CMakeLists.txt", "LICENSE"):
            copy(self, pattern, src=str(self._tree), dst=self.export_sources_folder)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        CMakeDeps(self).generate()
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["TILEWRIGHT_DEVELOPER"] = False
        toolchain.cache_variables["TILEWRIGHT_INSTALL"] = True
        toolchain.cache_variables["TILEWRIGHT_OPENMP"] = bool(self.options.openmp)
        toolchain.cache_variables["BUILD_SHARED_LIBS"] = bool(self.options.shared)
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        copy(self, "LICENSE", src=self.source_folder, dst=str(pathlib.Path(self.package_folder) / "licenses"))
        CMake(self).install()

    def package_info(self):
        # The library's own CMake package is the one to find.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs.append("lib/cmake/tilewright")
