// Training by the CUDA half of the library, emulated, against the same training by the CPU half: every rule, on every
// map, with every optimizer, augmentation, batches that do not divide the epoch, losses that are not finite, and in
// bfloat16. A step that asks for a value on the host, for which a GPU would have to be waited for, is found here too; a
// step that copies a tensor to the host is not, since here all memory is the host's.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "base/gpu.h"
#include "base/noise.h"
#include "maps/elementwise.h"
#include "network/place.h"
#include "rules/direct.h"
#include "rules/own_rule.h"
#include "torchbind/training.h"
#include "training/cuda/step_graph.h"

namespace cortorch {
namespace {

long checks = 0, failures = 0;

void check(bool good, const std::string& what) {
  ++checks;
  if (good) return;
  ++failures;
  std::printf("FAILED %s\n", what.c_str());
}

// Runs with the CUDA half.
template <typename Body>
auto emulated(const Body& body) {
  gpu_is_emulated = true;
  struct Off {
    ~Off() { gpu_is_emulated = false; }
  } off;
  return body();
}

void seed() {
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
  generator.set_current_seed(7);
}

// Settings of target propagation, for the rules that have them.
std::string of_targets(const std::string& rule) {
  static const std::set<std::string> kRules{"tp", "dtp", "sdtp", "ao-sdtp"};
  if (kRules.count(rule) == 0) return "";
  return std::string(" rule.noise=0.2 inverse_lr=1e-3") + (rule == "ao-sdtp" ? " rule.auxiliary=13" : "");
}

struct Data {
  at::Tensor images, targets;
};

Data data_of(const Shape& shape, int64_t count, bool bytes, int64_t classes) {
  Shape full{count};
  full.insert(full.end(), shape.begin(), shape.end());
  at::Tensor images = bytes ? at::randint(0, 256, full, at::kByte) : at::randn(full);
  return {images, at::randint(0, classes, {count}, at::kLong)};
}

// Operators by which the host learns a value of the device, or waits for it.
const std::set<std::string> kWaiting{"aten::item",  "aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero",
                                     "aten::equal", "aten::masked_select",       "aten::unique"};

struct Watched {
  std::set<std::string> waited;
  long operators = 0;
} watched;

std::unique_ptr<at::ObserverContext> on_operator(const at::RecordFunction& function) {
  ++watched.operators;
  if (kWaiting.count(function.name()) != 0) watched.waited.insert(function.name());
  return nullptr;
}

// What comes of some epochs: sums, parameters and moments.
struct Outcome {
  std::vector<std::vector<double>> sums;
  std::vector<std::string> names;
  std::vector<at::Tensor> values;
  std::vector<std::vector<double>> diagnoses;
};

struct Case {
  std::string name, model, settings;
  Shape shape;
  bool bytes = true;
  int64_t examples = 23, batch = 6, classes = 4;
  std::vector<int64_t> runs{3, 7, 5};
  double tolerance = 2e-5;  // of the largest change that a parameter made
  bool streamed = false;
};

Outcome train(const Case& c, const Data& data, bool graphs, const std::string& more = "") {
  Training training(c.model, c.settings + more);
  training.use_graphs(graphs);
  Outcome outcome;
  if (c.streamed) {
    for (const int64_t steps : c.runs) {
      for (int64_t i = 0; i < steps; ++i)
        training.launch(data.images.narrow(0, i % 3 * c.batch, c.batch),
                        data.targets.narrow(0, i % 3 * c.batch, c.batch));
      outcome.sums.push_back(training.collect());
    }
  } else {
    training.set_data(data.images, data.targets, c.classes);
    for (const int64_t steps : c.runs) outcome.sums.push_back(training.run(steps, c.batch));
    if (!c.runs.empty()) outcome.diagnoses = training.diagnose(c.batch);
  }
  outcome.sums.push_back(training.evaluate(data.images, data.targets, 10));
  for (const std::string& name : training.names()) {
    outcome.names.push_back(name);
    outcome.values.push_back(training.value(name));
  }
  return outcome;
}

double largest(const at::Tensor& t) { return t.numel() == 0 ? 0 : t.abs().max().item().toDouble(); }

bool of_one_shape(const std::vector<std::vector<double>>& a, const std::vector<std::vector<double>>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return x.size() == y.size(); });
}

void compare(const Case& c, const Outcome& cpu, const Outcome& gpu, const Outcome& start) {
  const bool comparable =
      cpu.names == gpu.names && of_one_shape(cpu.sums, gpu.sums) && of_one_shape(cpu.diagnoses, gpu.diagnoses);
  check(comparable && cpu.sums.size() == c.runs.size() + 1, c.name + ": names, sums and diagnoses");
  if (!comparable) return;
  for (std::size_t i = 0; i < cpu.values.size(); ++i) {
    check(cpu.values[i].sizes() == gpu.values[i].sizes(), c.name + ": the shape of " + cpu.names[i]);
    const double moved = largest(cpu.values[i] - start.values[i]), off = largest(cpu.values[i] - gpu.values[i]);
    // A parameter that moved less than 1e-3 has lost what is below 2⁻²⁵ of its value, about 1, at each step.
    check(off <= c.tolerance * std::max(moved, 1e-3),
          c.name + ": " + cpu.names[i] + " is off by " + std::to_string(off) + " of " + std::to_string(moved));
  }
  check(c.streamed || !cpu.diagnoses.empty(), c.name + ": layers were diagnosed");
  for (std::size_t i = 0; i < cpu.diagnoses.size(); ++i) {
    for (std::size_t k = 0; k < cpu.diagnoses[i].size(); ++k) {
      const double a = cpu.diagnoses[i][k], b = gpu.diagnoses[i][k];
      // Degrees, near 0 of the cosine of which nothing is left but rounding, and ratios.
      check(std::isnan(a) ? std::isnan(b) : std::abs(a - b) < 0.2, c.name + ": diagnosis " + std::to_string(k) +
                                                                       " of map " + std::to_string(i) + ": " +
                                                                       std::to_string(a) + " and " + std::to_string(b));
    }
  }
  for (std::size_t i = 0; i < cpu.sums.size(); ++i) {
    for (std::size_t k = 0; k < cpu.sums[i].size(); ++k) {
      const double a = cpu.sums[i][k], b = gpu.sums[i][k];
      // Errors, examples and steps are exact; squared errors of values are no counts.
      const bool counted = k == 1 || k == 2 || k == 4 || k == 5;
      const double allowed = counted && a == std::floor(a) ? 0 : 50 * c.tolerance * std::max(1.0, std::abs(a));
      check(std::abs(a - b) <= allowed || (std::isnan(a) && std::isnan(b)),
            c.name + ": sum " + std::to_string(k) + " of run " + std::to_string(i) + ": " + std::to_string(a) +
                " and " + std::to_string(b));
    }
  }
}

void run(const Case& c) {
  seed();
  const Data data = data_of(c.shape, c.examples, c.bytes, c.classes);
  Case untrained = c;
  untrained.runs = {};
  const Outcome start = train(untrained, data, false), cpu = train(c, data, false);
  bool moved = false;
  for (std::size_t i = 0; i < cpu.values.size(); ++i) moved |= largest(cpu.values[i] - start.values[i]) > 0;
  check(moved, c.name + ": something was trained");
  const long before = cuda::StepGraph::replays();
  const Outcome eager = emulated([&] { return train(c, data, false); });
  check(cuda::StepGraph::replays() == before, c.name + ": nothing was replayed");
  const Outcome replayed = emulated([&] { return train(c, data, true); });
  check(cuda::StepGraph::replays() > before, c.name + ": steps were replayed");
  compare(c, cpu, eager, start);
  for (std::size_t i = 0; i < eager.values.size(); ++i) {
    check(eager.values[i].equal(replayed.values[i]),
          c.name + ": replayed, " + eager.names[i] + " is the same to the bit");
  }
  check(eager.sums == replayed.sums, c.name + ": replayed, the sums are the same to the bit");
}

// No step asks for a value.
void watch(const Case& c) {
  seed();
  const Data data = data_of(c.shape, c.examples, c.bytes, c.classes);
  emulated([&] {
    Training training(c.model, c.settings);
    training.use_graphs(false);
    training.set_data(data.images, data.targets, c.classes);
    training.run(4, c.batch);
    watched = {};
    const auto handle =
        at::addGlobalCallback(at::RecordFunctionCallback(on_operator)
                                  .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
    training.run(2, c.batch);
    at::removeCallback(handle);
    std::string list;
    for (const std::string& name : watched.waited) list += " " + name;
    check(list.empty(), c.name + ": a step waits for" + list);
    check(watched.operators > 10, c.name + ": operators were watched");
    return 0;
  });
}

const char* const kDense =
    "input 3 6 5; flatten; dense units=24 activation=tanh; dense units=17 activation=tanh; dense units=9 "
    "activation=tanh; dense units=4";
const char* const kLocal =
    "input 3 6 5; locally_connected2d channels=8 kernel=3 padding=1 stride=2 activation=tanh; locally_connected2d "
    "channels=7 kernel=2 activation=tanh; "
    "flatten; dense units=11 activation=tanh; dense units=4";
const char* const kShared =
    "input 3 6 5; conv2d channels=8 kernel=3 padding=1 stride=2 activation=tanh; conv2d channels=6 kernel=2 "
    "activation=tanh; flatten; dense units=11 activation=tanh; dense units=4";
const char* const kNormed =
    "input 3 6 5; conv2d channels=8 kernel=3 padding=1 bias=0; batch_norm activation=relu; max_pool2d kernel=2 "
    "stride=2; locally_connected2d channels=5 kernel=2 bias=0; "
    "batch_norm activation=relu; flatten; dense units=12 activation=sigmoid; dense units=4";

std::vector<Case> cases() {
  std::vector<Case> all;
  const Shape image{3, 6, 5};
  for (const auto& [map, model] : {std::pair{"dense", kDense}, {"local", kLocal}, {"conv", kShared}}) {
    for (const char* rule : {"bp", "fa", "dfa", "usf", "brsf", "frsf", "tp", "dtp", "sdtp", "ao-sdtp"}) {
      const std::string name = std::string(rule) + " " + map;
      // A large ε: near zero a gradient's rounding would decide where Adam goes.
      all.push_back({name, model, std::string("rule=") + rule + " seed=3 lr=2e-3 eps=1e-3" + of_targets(rule), image});
    }
  }
  for (const char* phase : {"forward", "inverse"}) {
    all.push_back({std::string("dtp alone ") + phase, kLocal,
                   std::string("rule=dtp seed=3 lr=2e-3 eps=1e-3 phase=") + phase, image});
  }
  for (const char* optimizer :
       {"optimizer=sgd lr=0.05", "optimizer=sgd lr=0.05 momentum=0.9 weight_decay=0.01",
        "optimizer=rmsprop lr=1e-3 eps=1e-2", "optimizer=rmsprop lr=1e-3 eps=1e-2 momentum=0.5 weight_decay=0.1",
        "optimizer=adam lr=1e-3 eps=1e-2 weight_decay=0.1", "optimizer=sgd lr=1e-3 momentum=0.9 manhattan=1"}) {
    all.push_back({optimizer, kDense, std::string("rule=bp seed=3 ") + optimizer, image});
  }
  for (const char* rule : {"bp", "fa rule.feedbackScale=xiao", "usf rule.lastLayer=rule"}) {
    all.push_back({std::string("batch norm ") + rule, kNormed,
                   std::string("optimizer=sgd lr=0.02 momentum=0.9 seed=3 rule=") + rule, image});
    // Batches whose statistics are of few values amplify rounding.
    all.back().tolerance = 2e-4;
  }
  all.push_back({"many classes", "input 3 6 5; flatten; dense units=150", "rule=bp seed=3 lr=2e-3 eps=1e-3", image});
  all.back().classes = 150;
  all.push_back({"twelve classes", "input 3 6 5; flatten; dense units=12",
                 "rule=bp seed=3 lr=2e-3 eps=1e-3 loss=squared-error", image});
  all.back().classes = 12;
  for (const char* network : {kDense, kLocal, kNormed}) {
    all.push_back({"a learned feedback", network,
                   "rule=mirroring rule.noise=0.3 inverse_lr=1e-2 optimizer=sgd lr=0.02 momentum=0.9 seed=3", image});
    all.back().tolerance = 2e-4;
    all.push_back(
        {"a rule with a state", network, "rule=lagging rule.steps=7 optimizer=sgd lr=0.02 momentum=0.9 seed=3", image});
    all.back().tolerance = 2e-4;
  }
  all.push_back({"dfa shared", kLocal, "rule=dfa rule.dfaFeedback=shared seed=3 lr=2e-3 eps=1e-3", image});
  all.push_back(
      {"augmented", kLocal, "rule=bp seed=3 lr=2e-3 eps=1e-3 crop=2 flip=1 mean=0.4,0.5,0.6 std=0.2,0.3,0.25", image});
  all.push_back({"black border", kDense,
                 "rule=bp seed=3 lr=2e-3 eps=1e-3 crop=2 border=black mean=0.4,0.5,0.6 std=0.2,0.3,0.25", image});
  all.push_back({"floats", kDense, "rule=bp seed=3 lr=2e-3 eps=1e-3 mean=0.1,0.2,0.3 std=1,2,1", image, false});
  all.push_back({"squared error", kLocal, "rule=bp loss=squared-error seed=3 lr=2e-3 eps=1e-3", image});
  all.push_back({"squared error sdtp", kDense, "rule=sdtp loss=squared-error seed=3 lr=2e-3 eps=1e-3", image});
  all.push_back({"autoencoder",
                 "input 12; dense units=7 activation=tanh; dense units=5 activation=sigmoid; dense units=12",
                 "rule=dtp loss=reconstruction seed=3 lr=2e-3 eps=1e-3",
                 {12},
                 false});
  for (const char* rule : {"bp", "sdtp"}) {
    all.push_back(
        {std::string("streamed ") + rule, kLocal, std::string("rule=") + rule + " seed=3 lr=2e-3 eps=1e-3", image});
    all.back().streamed = true;
  }
  return all;
}

// In bfloat16 there is no CPU half; the same step in float32 is what it should be near.
void half_precision() {
  const auto settings_of = [](const std::string& rule) {
    return "rule=" + rule + " seed=3 optimizer=sgd lr=0.05" + of_targets(rule);
  };
  std::vector<std::pair<std::string, std::string>> rules;
  for (const char* rule : {"bp", "fa", "dfa", "usf", "brsf", "frsf", "tp", "dtp", "sdtp", "ao-sdtp"})
    rules.emplace_back(rule, settings_of(rule));
  // g(h) − g(h − d) of so small a d would be noise, if these were subtracted in bfloat16.
  rules.emplace_back("small dtp", settings_of("dtp") + " rule.targetStep=0.003");
  for (const auto& [rule, settings] : rules) {
    for (const auto& [map, model] : {std::pair{"dense", kDense}, {"local", kLocal}}) {
      Case c{"bf16 " + rule + " " + map, model, settings, {3, 6, 5}};
      c.runs = {1};
      seed();
      const Data data = data_of(c.shape, c.examples, c.bytes, c.classes);
      Case untrained = c;
      untrained.runs = {};
      const Outcome start = train(untrained, data, false), cpu = train(c, data, false);
      const Outcome half = emulated([&] { return train(c, data, false, " precision=bf16"); });
      const Outcome mixed = emulated([&] { return train(c, data, true, " precision=bf16 momentum=0.5 moments=bf16"); });
      for (std::size_t i = 0; i < cpu.values.size(); ++i) {
        const at::Tensor wanted = cpu.values[i] - start.values[i], got = half.values[i] - start.values[i];
        const double size = wanted.norm().item().toDouble();
        if (size == 0) {  // fixed: rounded to bfloat16, or the lowest layers that nothing reaches
          check(largest(got) <= largest(start.values[i]) / 256, c.name + ": " + cpu.names[i] + " stays");
          continue;
        }
        const double off = (wanted - got).norm().item().toDouble() / size;
        check(off < 0.06, c.name + ": " + cpu.names[i] + " moved by what is off by " + std::to_string(off));
        check((mixed.values[i] - half.values[i]).abs().max().item().toDouble() <= 1e-6,
              c.name + ": the first step is the same with moments, " + cpu.names[i]);
      }
    }
  }
}

// After a loss that is not finite nothing moves, and nothing is counted.
void not_finite() {
  for (const bool streamed : {false, true}) {
    Case c{"", kDense, "rule=bp seed=3 lr=1e-3", {3, 6, 5}, false};
    Data data = data_of(c.shape, 24, false, 4);
    emulated([&] {
      Training training(c.model, c.settings);
      std::vector<double> sums;
      at::Tensor before;
      if (streamed) {
        for (int i = 0; i < 2; ++i) training.launch(data.images.narrow(0, 6 * i, 6), data.targets.narrow(0, 6 * i, 6));
        training.settle();
        before = training.value("layers.0.weight");
        training.launch(at::full({6, 3, 6, 5}, NAN), data.targets.narrow(0, 0, 6));
        training.launch(data.images.narrow(0, 0, 6), data.targets.narrow(0, 0, 6));
        sums = training.collect();
      } else {
        training.set_data(data.images, data.targets, 4);
        const auto two = training.run(2, 6);
        before = training.value("layers.0.weight");
        check(two[5] == 2, "two steps were made");
        Training other(c.model, c.settings);
        at::Tensor broken = data.images.clone();
        broken.fill_(NAN);
        other.set_data(broken, data.targets, 4);
        sums = other.run(4, 6);
        check(sums[5] == 0 && sums[6] == 1 && sums[4] == 0, "a data set of NaNs: no step");
        check(std::isfinite(other.value("layers.0.weight").sum().item().toDouble()),
              "a data set of NaNs: the weights are as they were");
        return 0;
      }
      check(sums[5] == 2 && sums[6] == 1 && sums[4] == 12, "streamed: two steps of four were made, and counted");
      check(training.value("layers.0.weight").equal(before), "streamed: nothing moved after the NaN");
      training.launch(data.images.narrow(0, 0, 6), data.targets.narrow(0, 0, 6));
      check(training.collect()[5] == 1, "streamed: it goes on after it was collected");
      return 0;
    });
  }
}

// A step whose n-th launch is refused, for every n, in the middle of streamed steps or of a run: what was made before
// it counts, in weights and in the optimizer's corrections alike, and it can be made again.
void broken_steps(bool streamed) {
  const std::string how = streamed ? "a broken streamed step" : "a broken step of a run";
  Case c{"", kDense, "rule=dtp seed=3 lr=1e-3 rule.noise=0.1", {3, 6, 5}, false};
  const Data data = data_of(c.shape, 24, false, 4);
  const auto make = [&](Training& training, int64_t steps) {
    if (!streamed) return training.run(steps, 6);
    for (int64_t i = 0; i < steps; ++i)
      training.launch(data.images.narrow(0, 6 * i, 6), data.targets.narrow(0, 6 * i, 6));
    return training.collect();
  };
  const auto fresh = [&] {
    auto training = std::make_unique<Training>(c.model, c.settings);
    training->use_graphs(false);
    if (!streamed) training->set_data(data.images, data.targets, 4);
    return training;
  };
  emulated([&] {
    const auto undisturbed = fresh();
    for (int i = 0; i < 2; ++i) make(*undisturbed, 1);
    long broken = 0, moved = 0;
    for (long n = 1;; ++n) {
      const auto training = fresh();
      make(*training, 1);
      emulation::launches_until_failure = n;
      bool failed = false;
      try {
        make(*training, 1);
      } catch (const c10::Error&) {
        failed = true;
      }
      const bool refused = emulation::launches_until_failure == 0;
      emulation::launches_until_failure = -1;
      if (!refused) break;
      check(failed, how + ": launch " + std::to_string(n) + " is refused, and nobody says so");
      ++broken;
      if (streamed) {
        bool not_yet = false;
        try {
          training->launch(data.images.narrow(0, 0, 6), data.targets.narrow(0, 0, 6));
        } catch (const c10::Error&) {
          not_yet = true;
        }
        check(not_yet, how + ": no step before what was made is collected");
        // It was the first since then: it was made, or not at all.
        const double made = training->collect()[5];
        if (made > 0) {
          ++moved;
          continue;
        }
      } else if (training->trainer().optimizer().steps() != 1) {
        ++moved;
        continue;
      }
      make(*training, 1);
      for (const std::string& name : training->names())
        check(training->value(name).equal(undisturbed->value(name)), how + " can be made again: " + name);
      check(training->trainer().optimizer().steps() == 2, how + ": the optimizer counts two steps");
    }
    check(broken > 20, how + ": " + std::to_string(broken) + " launches");
    // Only an update that itself is refused leaves a step that was begun.
    check(moved <= 3, how + ": " + std::to_string(moved) + " of them after it was counted");
    return 0;
  });
}

// The same where steps of the same sequence were made before: they count. With graphs the fourth step is the first that
// is replayed.
void broken_later_step(bool streamed, int64_t made, bool graphs) {
  const std::string how = "a broken step after " + std::to_string(made) +
                          (streamed ? " that were streamed" : " of a run") + (graphs ? ", with graphs" : "");
  const Data data = data_of({3, 6, 5}, 36, false, 4);
  const auto fresh = [&] {
    auto training = std::make_unique<Training>(kDense, "rule=dtp seed=3 lr=1e-3 rule.noise=0.1");
    training->use_graphs(graphs);
    if (!streamed) training->set_data(data.images, data.targets, 4);
    return training;
  };
  const auto give = [&](Training& training, int64_t steps) {
    if (!streamed) {
      training.run(steps, 6);
      return;
    }
    for (int64_t i = 0; i < steps; ++i)
      training.launch(data.images.narrow(0, 6 * i, 6), data.targets.narrow(0, 6 * i, 6));
  };
  emulated([&] {
    // The launches of so many steps, and what comes of them.
    const auto launches_of = [&](Training& training, int64_t steps) {
      constexpr long many = 1'000'000;
      emulation::launches_until_failure = many;
      give(training, steps);
      const long launches = many - emulation::launches_until_failure;
      emulation::launches_until_failure = -1;
      if (streamed) training.collect();
      return launches;
    };
    const long replays = cuda::StepGraph::replays();
    const auto before = fresh(), after = fresh();
    const long of_before = launches_of(*before, made), of_step = launches_of(*after, made + 1) - of_before;
    const long replayed = graphs ? std::max<int64_t>(0, made - 3) + std::max<int64_t>(0, made - 2) : 0;
    check(cuda::StepGraph::replays() == replays + replayed, how + ": steps that were replayed");
    long counted = 0, broken = 0;
    for (long n = 1; n <= of_step; ++n) {
      const auto training = fresh();
      emulation::launches_until_failure = of_before + n;
      try {
        give(*training, made + 1);
      } catch (const c10::Error&) {
        ++broken;
      }
      emulation::launches_until_failure = -1;
      if (streamed) training->collect();
      const int64_t steps = training->trainer().optimizer().steps();
      check(steps == made || steps == made + 1, how + ": the optimizer counts " + std::to_string(steps));
      if (steps == made + 1) {
        ++counted;
        continue;
      }
      for (const std::string& name : training->names())
        check(training->value(name).equal(before->value(name)), how + ": as many were made: " + name);
    }
    check(of_step > 20 && broken == of_step,
          how + ": launches that were refused: " + std::to_string(broken) + " of " + std::to_string(of_step));
    check(counted <= 3, how + ": " + std::to_string(counted) + " of them after it was counted");
    return 0;
  });
}

// What would read a table of constants that nobody has filled, or forget what was made, is refused, on both halves.
void order_of_calls() {
  const Case c{"", kDense, "rule=dtp seed=3 lr=1e-3", {3, 6, 5}, false};
  const Data data = data_of(c.shape, 24, false, 4);
  const auto launch = [&](Training& training, Phase phase) {
    Position position;
    position.seed = 3;
    position.phase = phase;
    training.trainer().launch(data.images.narrow(0, 0, 6), data.targets.narrow(0, 0, 6), 1, position);
  };
  const auto refused = [](const auto& call, const std::string& what) {
    try {
      call();
    } catch (const c10::Error&) {
      return;
    }
    check(false, what + " is not refused");
  };
  const auto both = [&](const std::string& half) {
    Training training(c.model, c.settings), other(c.model, c.settings);
    for (Training* each : {&training, &other}) each->set_data(data.images, data.targets, 4);
    launch(training, Phase::forward);
    refused([&] { training.run(1, 6); }, half + ": a run before what was launched is collected");
    check(training.trainer().launching(), half + ": somebody who wants the optimizers' state can see that");
    refused([&] { training.moment(0, 0); }, half + ": a moment before what was launched is collected");
    training.diagnose(6);  // of the data set: it takes a batch, and nothing from those that were launched
    check(training.collect()[5] == 1, half + ": the step that was launched is there");
    check(!training.trainer().launching() && largest(training.moment(0, 0)) > 0, half + ": its moments, once it is");
    launch(other, Phase::forward);
    other.collect();
    for (const std::string& name : training.names())
      check(training.value(name).equal(other.value(name)), half + ": a diagnosis changes no launched step: " + name);
    launch(training, Phase::forward);
    refused([&] { launch(training, Phase::inverse); }, half + ": a launch in another phase");
    check(training.collect()[5] == 1, half + ": what was launched before");
    launch(training, Phase::inverse);
    check(training.collect()[5] == 1, half + ": the other phase, once that was collected");
    const Dataset set(data.images, data.targets, 4);
    const std::vector<double> factors{1};
    const std::atomic<bool> stop{false};
    Position before;
    before.first_step = -1;
    refused([&] { training.trainer().run(set, 6, before, factors, {}, stop); }, half + ": a step before the first");
  };
  both("CPU");
  emulated([&] {
    both("CUDA");
    return 0;
  });
}

// A word that is none of a setting's is refused, and the error lists those that are.
void unknown_names() {
  const std::pair<std::string, std::string> cases[] = {
      {"loss=hinge", "unknown loss 'hinge'; known are softmax-cross-entropy, squared-error, reconstruction"},
      {"optimizer=lion", "unknown optimizer 'lion'; known are adam, sgd, rmsprop"},
      {"rule=hebb", "unknown rule 'hebb'; known are bp, fa, dfa, usf, brsf, frsf, tp, dtp, sdtp, ao-sdtp"},
      {"rule=fa rule.auxiliary=3", "a trainer of rule fa has no option auxiliary"},
      {"rule=dtp phase=forwards", "unknown phase 'forwards'; known are forward, inverse, both"},
      {"rule=fa rule.feedbackScale=he", "unknown feedback scale 'he'; known are glorot, xiao"},
      {"rule=dfa rule.dfaFeedback=common", "unknown feedback of dfa 'common'; known are per-layer, shared"},
      {"moments=fp16", "unknown type of moments 'fp16'; known are fp32, bf16"},
      {"precision=fp16", "unknown precision 'fp16'; known are fp32, tf32, bf16"},
      {"crop=1 border=grey", "unknown border 'grey'; known are reflect, black"}};
  const auto refused = [](const std::string& model, const std::string& settings, const std::string& message) {
    try {
      Training(model, settings);
      check(false, model + ", " + settings + ": is taken");
    } catch (const c10::Error& error) {
      const std::string said = error.what_without_backtrace();
      check(said.find(message) != std::string::npos, model + ", " + settings + ": " + said);
    }
  };
  for (const auto& [settings, message] : cases) refused(kDense, settings, message);
  // Of layers those that a line of text can say, as it says them.
  const std::string known =
      "; known are flatten, max_pool2d, avg_pool2d, dense, locally_connected2d, conv2d, batch_norm";
  for (const std::string layer : {"conv3d", "residual", "max-pool2d"})
    refused("input 3 6 5; " + layer, "rule=bp", "unknown layer type '" + layer + "'" + known);
}

// What a process sets for a deterministic GPU is seen by the libraries below, whoever asks for it.
void deterministic_place() {
  unsetenv("CUBLAS_WORKSPACE_CONFIG");
  Place place;
  place.device = c10::Device(c10::kCUDA, 0);
  emulated([&] { return use_arithmetic(place), 0; });
  check(std::getenv("CUBLAS_WORKSPACE_CONFIG") == nullptr, "cuBLAS is left alone");
  place.deterministic = true;
  emulated([&] { return use_arithmetic(place), 0; });
  const char* set = std::getenv("CUBLAS_WORKSPACE_CONFIG");
  check(set != nullptr && std::string(set) == ":4096:8", "cuBLAS has a workspace of fixed size");
  setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8", 1);
  emulated([&] { return use_arithmetic(place), 0; });
  check(std::getenv("CUBLAS_WORKSPACE_CONFIG") == std::string(":16:8"), "what the user has set stays");
}

void pieces() {
  // Behind a norm or a sum the port is as wide as the units, however many examples there are.
  for (const int64_t examples : {0, 3}) {
    const LayerOutput port = dfa_port(at::zeros({examples, 2, 5}), {});
    check(port.error_port.sizes() == at::IntArrayRef({examples, 10}), "the port of " + std::to_string(examples));
  }
  // The noise is the processor's, up to the last bit.
  const at::Tensor h = at::randn({5, 3, 7, 11});
  const NoiseSource source{(uint64_t{5} << 32) + 99, 3, 17};
  const at::Tensor noise = add_noise(h, 0.5, source), other = emulated([&] { return add_noise(h, 0.5, source); });
  check(largest(noise - other) <= 1e-6, "noise");
  uint32_t step = 17;
  const at::Tensor placed = emulated([&] { return add_noise(h, 0.5, {source.seed, 3, StepNumber(&step)}); });
  check(placed.equal(other), "noise of a step that is read where it stands");
  // The difference of activities keeps its digits: against float64.
  for (const Activation activation : {Activation::identity, Activation::tanh, Activation::sigmoid, Activation::relu}) {
    const at::Tensor a = at::randn({40, 50}) * 3;
    for (const double size : {1e-6, 1e-3, 1.0, 30.0}) {
      const at::Tensor u = at::randn({40, 50}) * size;
      const at::Tensor exact = activation_difference(activation, a.to(at::kDouble), u.to(at::kDouble));
      const at::Tensor by_hand =
          activate(activation, a.to(at::kDouble)) - activate(activation, a.to(at::kDouble) - u.to(at::kDouble));
      const double scale = largest(exact);
      check(largest(exact - by_hand) <= 1e-13, "activation difference in float64");
      check(largest(activation_difference(activation, a, u) - exact) <= 4e-6 * scale,
            "activation difference, CPU, " + name_of(activation) + " " + std::to_string(size));
      check(largest(emulated([&] { return activation_difference(activation, a, u); }) - exact) <= 4e-6 * scale,
            "activation difference, CUDA, " + name_of(activation) + " " + std::to_string(size));
    }
  }
}

}  // namespace
}  // namespace cortorch

int main(int count, char** arguments) {
  using namespace cortorch;
  const std::string only = count > 1 ? arguments[1] : "";
  at::set_num_threads(1);
  for (const char* rule : {RULE_LAGGING, RULE_MIRRORING}) load_rule(rule, "");
  long ran = 0;
  for (const Case& c : cases()) {
    if (c.name.find(only) == std::string::npos) continue;
    ++ran;
    run(c);
    if (!c.streamed) watch(c);
  }
  if (only.empty()) {
    half_precision();
    not_finite();
    for (const bool streamed : {false, true}) {
      broken_steps(streamed);
      broken_later_step(streamed, 2, false);
      for (const int64_t made : {3, 4}) broken_later_step(streamed, made, true);
    }
    order_of_calls();
    deterministic_place();
    unknown_names();
    pieces();
  }
  std::printf("%ld cases, %ld checks, %ld failed\n", ran, checks, failures);
  return failures == 0 ? 0 : 1;
}
