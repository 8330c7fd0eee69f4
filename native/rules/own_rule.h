// A rule in a file of one's own, built against these headers and loaded at run time: include this, derive from one of
// the families (GradientRule, or Rule itself), and declare it at the end of the file:
//
//   CORTORCH_RULE("sign-flip", SignFlip, cortorch::whole_number("every", 100).at_least(1))
//
// The class is made from its name and its options: SignFlip(std::string name, cortorch::Options& options).
#pragma once

#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rules/gradient.h"
#include "rules/rule.h"

namespace cortorch {

// An option that a rule declares. A script's value is checked against it before the rule is made.
struct RuleOption {
  std::string name;
  bool is_word = false, is_whole = false;
  double number = 0;               // what holds unless somebody says otherwise
  std::string word;                // likewise
  std::vector<std::string> words;  // of a word: those that it may be
  double least = -std::numeric_limits<double>::infinity(), most = std::numeric_limits<double>::infinity();
  std::string help;

  RuleOption&& at_least(double value) && { return least = value, std::move(*this); }
  RuleOption&& at_most(double value) && { return most = value, std::move(*this); }
  // A line for people.
  RuleOption&& describe(std::string text) && { return help = std::move(text), std::move(*this); }
};

inline RuleOption number(std::string name, double otherwise) {
  RuleOption option;
  option.name = std::move(name);
  option.number = otherwise;
  return option;
}
inline RuleOption whole_number(std::string name, double otherwise) {
  RuleOption option = number(std::move(name), otherwise);
  option.is_whole = true;
  return option;
}
// One of some words, of which the first holds unless somebody says otherwise.
inline RuleOption one_of(std::string name, std::vector<std::string> words) {
  RuleOption option;
  option.name = std::move(name);
  option.is_word = true;
  option.word = words.at(0);
  option.words = std::move(words);
  return option;
}

// What a file says of its rule.
struct RuleDeclaration {
  std::string name;  // [a-z][a-z0-9-]*, none of ours
  std::vector<RuleOption> options;
  std::unique_ptr<Rule> (*make)(const std::string& name, Options& options);
};

// Opens a compiled file, whose rule is then known to make_rule() under its name, and tells what it declares. `build`
// says for which libcortorch it was compiled (CORTORCH_BUILD). Throws c10::Error if it is for another one, declares no
// rule, or one whose name another file has, or one of ours.
const RuleDeclaration& load_rule(const std::string& path, const std::string& build);

}  // namespace cortorch

#ifndef CORTORCH_BUILD
#define CORTORCH_BUILD ""
#endif

// NAME, the class, and its options.
#define CORTORCH_RULE(NAME, CLASS, ...)                                                                          \
  extern "C" __attribute__((visibility("default"))) const char* cortorch_rule_build() { return CORTORCH_BUILD; } \
  extern "C" __attribute__((visibility("default"))) const ::cortorch::RuleDeclaration* cortorch_rule() {         \
    static const ::cortorch::RuleDeclaration declaration{                                                        \
        NAME,                                                                                                    \
        {__VA_ARGS__},                                                                                           \
        [](const std::string& name, ::cortorch::Options& options) -> std::unique_ptr<::cortorch::Rule> {         \
          return std::make_unique<CLASS>(name, options);                                                         \
        }};                                                                                                      \
    return &declaration;                                                                                         \
  }
