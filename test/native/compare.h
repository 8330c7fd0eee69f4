// How far numbers are from what they should be; the like of test/support/compare.ts. A NaN, an infinity or another
// length is never close: the distance is then infinite.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace compare {

// The largest |actual − expected|.
inline double largest_difference(const std::vector<double>& actual, const std::vector<double>& expected) {
  constexpr double far = std::numeric_limits<double>::infinity();
  if (actual.size() != expected.size()) return far;
  double most = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(actual[i] - expected[i]);
    if (!std::isfinite(difference)) return far;
    most = std::max(most, difference);
  }
  return most;
}

// The largest |actual − expected| over the largest |expected|, or over `floor` where that is larger: the size of what
// was added up, if what is expected may be what is left of it. Zeros alone are at a distance of 0 from zeros.
inline double relative_error(const std::vector<double>& actual, const std::vector<double>& expected, double floor = 0) {
  const double difference = largest_difference(actual, expected);
  if (difference == 0 || std::isinf(difference)) return difference;
  double size = floor;
  for (const double value : expected) size = std::max(size, std::abs(value));
  return difference / size;
}

}  // namespace compare
