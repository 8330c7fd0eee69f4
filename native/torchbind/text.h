// Networks and settings as a line of text, for Python and for programs that test.
#pragma once

#include <string>

#include "base/options.h"
#include "plan/spec.h"

namespace cortorch {

// Of words `key=value`: a number, numbers with commas between them, or a word. Throws c10::Error for others.
Options options_from_text(const std::string& text);

// `input 1 28 28; conv2d channels=32 kernel=3 stride=2 padding=1 activation=tanh; flatten; dense units=10`. Kinds:
// dense, conv2d, locally_connected2d, max_pool2d, avg_pool2d, batch_norm, flatten.
NetworkSpec network_from_text(const std::string& text);

}  // namespace cortorch
