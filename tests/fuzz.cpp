// SPDX-License-Identifier: MIT
// Readers of files under a fuzzer (libFuzzer, clang): whatever the bytes, a FileError or a ValueError, or an object.
// The environment variable TILEWRIGHT_FUZZ chooses the reader: safetensors idx npy npz csv text. ./dev fuzz runs all.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "tilewright/nn/nn.hpp"

using namespace tilewright;

namespace {

void read(const std::string& reader, const std::string& path, std::string_view bytes) {
  if (reader == "safetensors") {
    const nn::SafetensorsFile file(path);
    for (const auto& tensor : file.tensors()) {
      std::vector<float> out(std::min<std::size_t>(tensor.data.size(), 64));
      try {
        file.read(tensor, std::span<float>(out));
      } catch (const FileError&) {  // another number of elements
      }
    }
  } else if (reader == "idx") {
    nn::read_idx(path);
  } else if (reader == "npy") {
    nn::read_npy(path);
  } else if (reader == "npz") {
    nn::read_npz(path);
  } else if (reader == "csv") {
    const nn::CsvTable table = nn::parse_csv(bytes, "fuzz.csv");
    for (const std::string& name : table.names()) {
      (void)table.categories(name);
      (void)table.numbers(name);
    }
  } else if (reader == "text") {
    const nn::BytePairTokenizer pieces(bytes, 280);
    if (pieces.decode(pieces.encode(bytes)) != bytes) std::abort();
    (void)nn::WordTokenizer(bytes).encode(bytes);
    const nn::CharacterTokenizer characters(bytes);
    if (characters.decode(characters.encode(bytes)) != bytes) std::abort();
  } else {
    std::fprintf(stderr, "TILEWRIGHT_FUZZ: no reader \"%s\"\n", reader.c_str());
    std::exit(2);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string reader = std::getenv("TILEWRIGHT_FUZZ") == nullptr ? "" : std::getenv("TILEWRIGHT_FUZZ");
  static const std::string path = "/dev/shm/tilewright-fuzz-" + std::to_string(getpid());
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr || std::fwrite(data, 1, size, file) != size) std::abort();
  std::fclose(file);
  try {
    read(reader, path, {reinterpret_cast<const char*>(data), size});
  } catch (const FileError&) {
  } catch (const ValueError&) {
  }
  return 0;
}
