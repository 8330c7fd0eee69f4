// Networks and settings as a line of text, for Python and for programs that test.
#pragma once

#include <map>
#include <string>

#include "base/options.h"
#include "plan/spec.h"

namespace cortorch {

// Words `key=value`; throws c10::Error for others, and on request() for a value that is none, or for keys that nobody
// asked for.
class Settings {
 public:
  explicit Settings(const std::string& text);
  std::string text(const std::string& key, const std::string& otherwise);
  double number(const std::string& key, double otherwise);
  int64_t integer(const std::string& key, int64_t otherwise);
  // All that begin with the prefix, by what follows it; numbers as such.
  Options options(const std::string& prefix);
  // Throws if a key is left that nothing has asked for.
  void done(const std::string& where) const;

 private:
  std::map<std::string, std::string> words_;
};

// `input 1 28 28; conv2d channels=32 kernel=3 stride=2 padding=1 activation=tanh; flatten; dense units=10`. Kinds:
// dense, conv2d, locally_connected2d, max_pool2d, avg_pool2d, batch_norm, flatten.
NetworkSpec network_from_text(const std::string& text);

}  // namespace cortorch
