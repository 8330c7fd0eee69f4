#include "torchbind/text.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <sstream>

namespace cortorch {
namespace {

double number_of(const std::string& key, const std::string& value) {
  std::size_t used = 0;
  double number = 0;
  try {
    number = std::stod(value, &used);
  } catch (const std::exception&) {
  }
  TORCH_CHECK(used == value.size() && used > 0, "expected a number for ", key, ", but received '", value, "'");
  return number;
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
  Settings settings(rest);
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
  layer.activation = from_name<Activation>(settings.text("activation", "identity"));
  layer.bias = settings.integer("bias", 1) != 0;
  settings.done(kind);
  return layer;
}

}  // namespace

Settings::Settings(const std::string& text) {
  std::istringstream stream(text);
  for (std::string word; stream >> word;) {
    const auto equals = word.find('=');
    TORCH_CHECK(equals != std::string::npos && equals > 0, "expected key=value, but received '", word, "'");
    words_[word.substr(0, equals)] = word.substr(equals + 1);
  }
}

std::string Settings::text(const std::string& key, const std::string& otherwise) {
  const auto found = words_.find(key);
  if (found == words_.end()) return otherwise;
  std::string value = std::move(found->second);
  words_.erase(found);
  return value;
}

double Settings::number(const std::string& key, double otherwise) {
  const std::string value = text(key, "");
  return value.empty() ? otherwise : number_of(key, value);
}

int64_t Settings::integer(const std::string& key, int64_t otherwise) {
  const double value = number(key, static_cast<double>(otherwise));
  TORCH_CHECK(value == static_cast<double>(static_cast<int64_t>(value)), "expected a whole number for ", key,
              ", but received ", value);
  return static_cast<int64_t>(value);
}

Options Settings::options(const std::string& prefix) {
  Options options;
  for (auto word = words_.begin(); word != words_.end();) {
    if (!word->first.starts_with(prefix)) {
      ++word;
      continue;
    }
    const auto& [key, value] = *word;
    const bool is_number = !value.empty() && value.find_first_not_of("0123456789.eE+-") == std::string::npos;
    options.set(key.substr(prefix.size()), is_number ? Options::Value(number_of(key, value)) : Options::Value(value));
    word = words_.erase(word);
  }
  return options;
}

void Settings::done(const std::string& where) const {
  TORCH_CHECK(words_.empty(), where, ": there is no setting '", words_.begin()->first, "'");
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
