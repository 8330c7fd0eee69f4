#include "torchbind/text.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <vector>

namespace cortorch {
namespace {

// A number, and nothing behind it.
std::optional<double> number_in(const std::string& word) {
  try {
    std::size_t used = 0;
    const double number = std::stod(word, &used);
    return used == word.size() ? std::optional(number) : std::nullopt;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

Options::Value value_of(const std::string& word) {
  std::vector<double> numbers;
  std::istringstream stream(word);
  for (std::string part; std::getline(stream, part, ',');) {
    const std::optional<double> number = number_in(part);
    if (!number) return word;
    numbers.push_back(*number);
  }
  if (numbers.size() == 1) return numbers[0];
  return numbers.empty() ? Options::Value(word) : Options::Value(numbers);
}

// In this text names are one word, as Python has them, and a line has no blocks.
LayerSpec::Kind kind_from(const std::string& name) {
  std::string known;
  for (const auto& [of_kind, kind] : Names<LayerSpec::Kind>::table) {
    if (kind == LayerSpec::Kind::residual) continue;
    std::string word(of_kind);
    std::replace(word.begin(), word.end(), '-', '_');
    if (word == name) return kind;
    known.append(known.empty() ? "" : ", ").append(word);
  }
  TORCH_CHECK(false, "unknown layer type '", name, "'; known are ", known);
}

LayerSpec layer_from(const std::string& text) {
  using Kind = LayerSpec::Kind;
  std::istringstream stream(text);
  std::string kind, rest;
  stream >> kind;
  std::getline(stream, rest);
  Options settings = options_from_text(rest);
  LayerSpec layer;
  layer.kind = kind_from(kind);
  const auto pair = [&](const char* key, int64_t otherwise) {
    const int64_t value = settings.integer(key, otherwise);
    return std::array<int64_t, 2>{value, value};
  };
  if (layer.kind == Kind::dense) layer.units = settings.integer("units", 0);
  if (layer.kind == Kind::conv2d || layer.kind == Kind::locally_connected2d) {
    layer.channels = settings.integer("channels", 0);
    layer.dilation = pair("dilation", 1);
  }
  if (layer.kind != Kind::dense && layer.kind != Kind::flatten && layer.kind != Kind::batch_norm) {
    layer.kernel = pair("kernel", 1);
    layer.stride = pair("stride", 1);
    layer.padding = pair("padding", 0);
  }
  layer.activation = settings.one_of("activation", Activation::identity);
  layer.bias = settings.integer("bias", 1) != 0;
  settings.done("layer " + kind);
  return layer;
}

}  // namespace

Options options_from_text(const std::string& text) {
  Options options;
  std::istringstream stream(text);
  for (std::string word; stream >> word;) {
    const auto equals = word.find('=');
    TORCH_CHECK(equals != std::string::npos && equals > 0, "expected key=value, but received '", word, "'");
    options.set(word.substr(0, equals), value_of(word.substr(equals + 1)));
  }
  return options;
}

NetworkSpec network_from_text(const std::string& text) {
  NetworkSpec spec;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ';');) {
    std::istringstream words(part);
    std::string first;
    if (!(words >> first)) continue;
    if (first == "input") {
      for (int64_t size = 0; words >> size;) spec.input.push_back(size);
    } else {
      spec.layers.push_back(layer_from(part));
    }
  }
  return spec;
}

}  // namespace cortorch
