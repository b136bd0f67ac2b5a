// SPDX-License-Identifier: MIT
// safetensors and checkpoints: both ways, malformed files, interrupted runs.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/support.hpp"
#include "tilewright/nn/nn.hpp"

namespace tilewright {
namespace {

using namespace nn;
using test::message_of;

/// A folder that goes with the scope.
struct Folder {
  Folder() {
    char name[] = "/tmp/tilewright-XXXXXX";
    path = mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
  std::string path;
};

Sequential everything() {
  return Sequential(Linear(5, 8), BatchNorm1d(8), ReLU(), Residual(LayerNorm(8), Linear(8, 8), GELU()), Dropout(0.2),
                    PReLU(), Linear(8, 3, false));
}

void write(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }
std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Safetensors, ModelComesBack) {
  const Folder folder;
  Sequential model = everything(), other = everything();
  model.reset_parameters(5);
  Matrix<float> x(6, 5);
  fill_normal(x.span(), {1, 1});
  model.forward(x);  // batch norm counts
  save_model(folder / "m.safetensors", model);
  load_model(folder / "m.safetensors", other);
  model.eval();
  other.eval();
  const Matrix<float> want(model.forward(x)), got(other.forward(x));
  for (Index k = 0; k < want.size(); ++k) EXPECT_EQ(got.data()[k], want.data()[k]);
  EXPECT_EQ(other.parameters()["1.num_batches_tracked"].value[0], 1);
  const SafetensorsFile file(folder / "m.safetensors");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file["1.num_batches_tracked"].dtype, "I64");
  EXPECT_EQ(file["3.1.weight"].shape, (std::vector<Index>{8, 8}));
  EXPECT_EQ(std::filesystem::directory_iterator(folder.path)->path().filename(), "m.safetensors");
}

TEST(Safetensors, MismatchesChangeNothing) {
  const Folder folder;
  const std::string path = folder / "m.safetensors";
  Sequential model(Linear(5, 4));
  save_model(path, model);
  Sequential wide(Linear(5, 6)), deep(Linear(5, 4), ReLU(), Linear(4, 2)), same(Linear(5, 4, false));
  const auto before = test::hash_of(MatrixView<const float>(wide.parameters().values().data(), 1, 32));
  EXPECT_EQ(message_of<FileError>([&] { load_model(path, wide); }),
            "load: " + path + ": \"0.weight\" is [4, 5], expected [6, 5]");
  EXPECT_EQ(test::hash_of(MatrixView<const float>(wide.parameters().values().data(), 1, 32)), before);
  EXPECT_EQ(message_of<FileError>([&] { load_model(path, deep); }),
            "SafetensorsFile: " + path + ": there is no \"2.weight\"");
  EXPECT_EQ(message_of<FileError>([&] { load_model(path, same); }),
            "load_model: " + path + ": \"0.bias\" is not in the model");
  load_model(path, same, false);
  EXPECT_EQ(message_of<FileError>([&] { save_model(folder / "no/such/folder", model); }).substr(0, 17),
            "save_safetensors:");
  EXPECT_EQ(message_of<FileError>([&] { SafetensorsFile file(folder.path); }),
            "SafetensorsFile: " + folder.path + ": is not a regular file");
}

/// Written by Python's safetensors from a PyTorch model (tests/data/make_safetensors.py), with half precision among it.
TEST(Safetensors, ReadsWhatPyTorchWrote) {
  const std::string path = TILEWRIGHT_TEST_DATA "/torch.safetensors";
  Sequential model(Linear(5, 8), BatchNorm1d(8), GELU(), Linear(8, 3));
  load_model(path, model, true, "model.");
  model.eval();
  const SafetensorsFile file(path);
  Matrix<float> x(4, 5), y(4, 3);
  file.read(file["x"], x.span());
  file.read(file["y"], y.span());
  const auto got = model.forward(x);
  for (Index k = 0; k < y.size(); ++k) EXPECT_NEAR(got.data[k], y.data()[k], 1e-6);
  std::vector<float> half(6), brain(6), small(6);
  file.read(file["half"], std::span<float>(half));
  file.read(file["brain"], std::span<float>(brain));
  file.read(file["integers"], std::span<float>(small));
  const std::vector<float> want{0, -1.5F, 65504, 6.103515625e-05F, 5.9604645e-08F, INFINITY};
  EXPECT_EQ(half, want);
  EXPECT_EQ(brain, (std::vector<float>{0, -1.5F, 65536, 1, 3.140625F, -INFINITY}));
  EXPECT_EQ(small, (std::vector<float>{-128, -1, 0, 1, 2, 127}));
  EXPECT_EQ(file.metadata().at("format"), "pt");
}

/// And the other way, where Python has both.
TEST(Safetensors, PyTorchReadsWhatWeWrote) {
  if (std::system("python3 -c 'import torch, safetensors' 2>/dev/null") != 0) GTEST_SKIP() << "no PyTorch";
  const Folder folder;
  Sequential model(Linear(5, 8), BatchNorm1d(8), GELU(), Linear(8, 3));
  Matrix<float> x(4, 5);
  fill_normal(x.span(), {1, 1});
  model.forward(x);
  model.eval();
  const auto y = model.forward(x);
  std::vector<TensorToWrite> tensors{{"x", "F32", {4, 5}, std::as_bytes(x.span())},
                                     {"y", "F32", {4, 3}, std::as_bytes(std::span(y.data, 12))}};
  save_model(folder / "m", model);
  const SafetensorsFile file(folder / "m");
  for (const auto& t : file.tensors()) tensors.push_back({t.name, t.dtype == "I64" ? "I64" : "F32", t.shape, t.data});
  save_safetensors(folder / "all", tensors);
  EXPECT_EQ(std::system(("python3 -W ignore " TILEWRIGHT_TEST_DATA "/make_safetensors.py " + (folder / "all")).c_str()),
            0);
}

std::string with_header(const std::string& json, const std::string& data = "") {
  const std::uint64_t length = json.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + json + data;
}

/// Each of them must be refused with a message that names the file.
TEST(Safetensors, MalformedFiles) {
  const Folder folder;
  const std::string path = folder / "bad.safetensors", four(4, '\0'), eight(8, '\0');
  const auto one = [](const std::string& entry) { return "{\"w\":" + entry + "}"; };
  std::vector<std::string> bad{
      "",
      "1",
      "1234567",
      std::string(8, '\xff'),
      std::string("\x05\0\0\0\0\0\0\0{}", 10),
      std::string("\x00\xe1\xf5\x06\0\0\0\0", 8) + "{}",
      std::string(8, '\0'),
      with_header(""),
      with_header("[]"),
      with_header("{"),
      with_header("}"),
      with_header(" {}"),
      with_header("{}x"),
      with_header("{} {}"),
      with_header("nul"),
      with_header("{\"w\"}"),
      with_header("{\"w\":}"),
      with_header("{'w':1}"),
      with_header("{\"\xff\":1}"),
      with_header("{\"\xc3\x28\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", four),
      with_header(one("1")),
      with_header(one("null")),
      with_header(one("[]")),
      with_header(one("{}")),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[1]}"), four),
      with_header(one("{\"dtype\":\"F32\",\"data_offsets\":[0,4]}"), four),
      with_header(one("{\"shape\":[1],\"data_offsets\":[0,4]}"), four),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"more\":1}"), four),
      with_header(one("{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}"), four),
      with_header(one("{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}"), four),
      with_header(one("{\"dtype\":\"\",\"shape\":[1],\"data_offsets\":[0,4]}"), four),
      with_header(one("{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}"), four),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}"), four),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}"), four),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}"), four),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}"), four),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}"), eight),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}"), four),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}")),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"), "123"),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"), "12345"),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]}"), "12345"),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}"), four),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}"), eight),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}"), four),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4.0]}"), four),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":{\"0\":4}}"), four),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[18446744073709551612,18446744073709551616]}"),
                  four),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}")),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[9223372036854775808],\"data_offsets\":[0,0]}")),
      with_header(one("{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}")),
      with_header("{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"w\":{\"dtype\":\"F32\",\"shape\":["
                  "1],\"data_offsets\":[4,8]}}",
                  eight),
      with_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":["
                  "1],\"data_offsets\":[0,4]}}",
                  four),
      with_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F16\",\"shape\":["
                  "2],\"data_offsets\":[2,6]}}",
                  "123456"),
      with_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[2]"
                  ",\"data_offsets\":[4,6]}}",
                  "123456"),
      with_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2],\"dtype\":\"U8\"}}", "12"),
      with_header("{\"__metadata__\":1}"),
      with_header("{\"__metadata__\":{\"a\":1}}"),
      with_header("{\"__metadata__\":[\"a\"]}"),
      with_header("{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}}"),
      with_header("{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}"),
      with_header(std::string(10000, '[')),
      with_header("{\"w\":" + std::string(10000, '[')),
  };
  EXPECT_GE(bad.size(), 60U);
  for (std::size_t i = 0; i < bad.size(); ++i) {
    write(path, bad[i]);
    const std::string message = message_of<FileError>([&] { SafetensorsFile file(path); });
    EXPECT_EQ(message.substr(0, 17 + path.size()), "SafetensorsFile: " + path) << i << ": " << message << "\n"
                                                                               << bad[i].substr(0, 200);
    EXPECT_GT(message.size(), path.size() + 25) << i << ": " << message;
  }
  write(path, with_header(one("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}"), four));
  EXPECT_EQ(message_of<FileError>([&] { SafetensorsFile file(path); }),
            "SafetensorsFile: " + path + ": \"w\": F32 of shape [2] has 8 bytes, but data_offsets [0,4] hold 4");
  // The same ways to be right: empty, scalars, empty tensors, spaces at the end.
  for (const std::string& good :
       {with_header("{}"), with_header("{}      "),
        with_header(one("{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}"), four),
        with_header(one("{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[0,0]}")),
        with_header("{\"__metadata__\":{},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},\"b\":{"
                    "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                    eight)}) {
    write(path, good);
    EXPECT_EQ(message_of<FileError>([&] { SafetensorsFile file(path); }), "no error");
  }
  // Every prefix of a real file.
  Sequential model(Linear(3, 2));
  save_model(path, model);
  const std::string whole = read(path);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write(path, whole.substr(0, size));
    EXPECT_NE(message_of<FileError>([&] { SafetensorsFile file(path); }), "no error") << size;
  }
}

// ---- runs that are interrupted

/// A run that writes a checkpoint every few steps; the hash of its weights.
std::uint64_t run(const std::string& checkpoint, bool prefetch, Index epochs) {
  const Dataset data = generate_blobs(203, 6, 4, 1, 3);
  Sequential model(Linear(6, 32), BatchNorm1d(32), GELU(), Dropout(0.3), Linear(32, 4));
  model.reset_parameters(9);
  optim::AdamW optimizer(model.parameters(), {.lr = 1e-2}, {{.parameters = {"*.bias"}, .weight_decay = 0}});
  optim::CosineAnnealingLR schedule(optimizer, 100);
  CrossEntropyLoss loss;
  DataLoader loader(data, {.batch_size = 16, .seed = 4, .augmentation = add_noise(0.1F), .prefetch = prefetch});
  fit(model, loss, optimizer, loader,
      {.epochs = epochs,
       .schedule = &schedule,
       .schedule_every_step = true,
       .checkpoint = checkpoint,
       .checkpoint_every = 1});
  return test::hash_of(MatrixView<const float>(model.parameters().values().data(), 1,
                                               static_cast<Index>(model.parameters().values().size())));
}

/// The same with everything in fit() that remembers; it ends early, before so many epochs. Reading sample number
/// `crash_at` ends it at once.
std::uint64_t run_with_memory(const std::string& checkpoint, Index epochs, Index crash_at = 0) {
  const Dataset data = generate_blobs(103, 6, 4, 3, 3), held_out = generate_blobs(50, 6, 4, 3, 4);
  Sequential model(Linear(6, 32), BatchNorm1d(32), ReLU(), Linear(32, 4));
  model.reset_parameters(9);
  optim::Adam optimizer(model.parameters(), {.lr = 3e-2});
  optim::ReduceLROnPlateau plateau(optimizer, {.factor = 0.5, .patience = 1, .cooldown = 1});
  optim::WeightAverage average(model.parameters(), 0.9);
  CrossEntropyLoss loss;
  Index samples = 0;
  DataLoader loader(data, {.batch_size = 16, .seed = 4, .augmentation = [&](std::span<float>, RandomStream) {
                             if (++samples == crash_at) throw std::runtime_error("crash");
                           }});
  const History h =
      fit(model, loss, optimizer, loader,
          {.epochs = epochs,
           .validation = &held_out,
           .metrics = {accuracy_metric()},
           .plateau = &plateau,
           .early_stopping =
               EarlyStopping{.monitor = "loss", .min_delta = 0.02, .patience = 2, .restore_best_weights = true},
           .average = &average,
           .checkpoint = checkpoint,
           .checkpoint_every = 1});
  test::Hash hash;
  hash.add(std::span<const float>(model.parameters().values())).add(std::span<const float>(average.values()));
  for (const char* name : {"loss", "validation_loss", "lr", "accuracy"})
    for (const double value : h.values(name)) hash.add(value);
  return hash.value();
}

TEST(Checkpoint, RemembersWhatEarlyStoppingPlateauAndAverageDo) {
  const Folder folder;
  const std::uint64_t whole = run_with_memory("", 40);
  EXPECT_EQ(run_with_memory("", 30), whole) << "it does not end early";
  for (const Index crash_at : {5, 50, 120, 333, 500, 640, 777, 850, 900}) {
    const std::string path = folder / std::to_string(crash_at);
    EXPECT_THROW(run_with_memory(path, 40, crash_at), std::runtime_error);
    EXPECT_EQ(run_with_memory(path, 40), whole) << crash_at;
    EXPECT_EQ(run_with_memory(path, 40), whole) << "a run that has ended stays as it is";
  }
}

TEST(Checkpoint, GoesOnWithTheSameBits) {
  const Folder folder;
  const std::uint64_t whole = run("", false, 6);
  EXPECT_EQ(run("", true, 6), whole) << "prefetching";
  EXPECT_NE(run("", true, 5), whole);
  EXPECT_NE(run(folder / "a", false, 2), whole);
  EXPECT_EQ(run(folder / "a", true, 6), whole);
}

/// Ctrl-C in the middle of an epoch ends training after the step; what is there goes on to the same bits.
TEST(Checkpoint, SurvivesInterrupt) {
  const Folder folder;
  const Dataset data = generate_blobs(100, 6, 4, 1, 3);
  const auto train = [&](const std::string& path, int interrupt_at) {
    Sequential model(Linear(6, 8), Dropout(0.3), Linear(8, 4));
    optim::Adam optimizer(model.parameters());
    CrossEntropyLoss loss;
    int samples = 0;
    DataLoader loader(data, {.batch_size = 10, .augmentation = [&](std::span<float>, RandomStream) {
                               if (++samples == interrupt_at) raise(SIGINT);
                             }});
    const History h = fit(model, loss, optimizer, loader, {.epochs = 3, .checkpoint = path, .stop_on_interrupt = true});
    EXPECT_EQ(h.interrupted, interrupt_at != 0);
    EXPECT_EQ(loader.position().epoch, interrupt_at != 0 ? 1 : 3);
    const auto v = model.parameters().values();
    return test::hash_of(MatrixView<const float>(v.data(), 1, static_cast<Index>(v.size())));
  };
  const auto whole = train("", 0), part = train(folder / "c", 145);
  EXPECT_NE(part, whole);
  EXPECT_EQ(train(folder / "c", 0), whole);
  struct sigaction now {};
  sigaction(SIGINT, nullptr, &now);
  EXPECT_EQ(now.sa_handler, SIG_DFL) << "the handler went with fit()";
}

/// kill -9 at random moments; ./dev stress does it 200 times.
TEST(Checkpoint, SurvivesKill) {
#if defined(__SANITIZE_THREAD__) || defined(TILEWRIGHT_EMULATED)
  GTEST_SKIP() << "too slow here";
#endif
  const char* wanted = std::getenv("TILEWRIGHT_KILLS");
  const Folder folder;
  const std::uint64_t whole = run("", false, 6), whole_with_memory = run_with_memory("", 40);
  int killed = 0;
  for (int round = 0; round < (wanted != nullptr ? std::atoi(wanted) : 12); ++round) {
    const std::string path = folder / ("c" + std::to_string(round));
    for (int attempt = 0;; ++attempt) {
      ASSERT_LT(attempt, 2000) << "no progress";
      const pid_t child = fork();
      if (child == 0) {
        set_num_threads(1);
        const bool right =
            round % 4 == 3 ? run_with_memory(path, 40) == whole_with_memory : run(path, round % 2 == 1, 6) == whole;
        _exit(right ? 0 : 1);
      }
      std::uint64_t moment =
          RandomStream{11, static_cast<std::uint64_t>(round)}.below(static_cast<std::uint64_t>(attempt), 40000);
      int status = 0;
      while (moment > 200 && waitpid(child, &status, WNOHANG) == 0) {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
        moment -= 200;
      }
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      if (WIFEXITED(status)) {
        ASSERT_EQ(WEXITSTATUS(status), 0) << "round " << round << ": other bits, or an error";
        break;
      }
      ++killed;
    }
  }
  std::printf("  killed %d times\n", killed);
  EXPECT_GT(killed, 5);
}

TEST(Checkpoint, Errors) {
  const Folder folder;
  const std::string path = folder / "c";
  Sequential model(Linear(3, 2)), other(Linear(3, 3));
  optim::Adam adam(model.parameters());
  optim::SGD sgd(model.parameters());
  save_checkpoint(path, {&model, &adam, nullptr, {{"epoch", "7"}}});
  Checkpoint wrong{&model, &sgd, nullptr, {}}, shape{&other, nullptr, nullptr, {}}, right{&model, &adam, nullptr, {}};
  EXPECT_EQ(message_of<FileError>([&] { load_checkpoint(path, wrong); }),
            "load_checkpoint: " + path + ": holds the optimizer \"Adam\", expected SGD");
  EXPECT_EQ(message_of<FileError>([&] { load_checkpoint(path, shape); }),
            "load: " + path + ": \"model.0.weight\" is [2, 3], expected [3, 3]");
  load_checkpoint(path, right);
  EXPECT_EQ(right.notes.at("epoch"), "7");
  EXPECT_EQ(message_of<FileError>([&] { run(path, false, 1); }),
            "fit: " + path + ": the note \"position\" is \"\", expected 2 numbers");
}

}  // namespace
}  // namespace tilewright
