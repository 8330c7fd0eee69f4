#include "rules/rules.h"

#include <c10/util/Exception.h>
#include <dlfcn.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <string_view>
#include <utility>

#include "rules/own_rule.h"

// The rules: the name of each, and the function of its file that makes it. A new one has a line here.
#define CORTORCH_RULES(RULE)             \
  RULE("bp", backpropagation)            \
  RULE("fa", feedback_alignment)         \
  RULE("dfa", direct_feedback_alignment) \
  RULE("usf", sign_symmetry)             \
  RULE("brsf", sign_symmetry)            \
  RULE("frsf", sign_symmetry)            \
  RULE("tp", target_propagation)         \
  RULE("dtp", target_propagation)        \
  RULE("sdtp", target_propagation)       \
  RULE("ao-sdtp", target_propagation)

namespace cortorch {

#define CORTORCH_DECLARED(NAME, MAKE) std::unique_ptr<Rule> MAKE(std::string_view name, Options& options);
CORTORCH_RULES(CORTORCH_DECLARED)

namespace {

struct Entry {
  std::string_view name;
  std::unique_ptr<Rule> (*make)(std::string_view name, Options& options);
};

#define CORTORCH_LISTED(NAME, MAKE) {NAME, MAKE},
constexpr Entry kRules[] = {CORTORCH_RULES(CORTORCH_LISTED)};

// Rules of files, which stay loaded. Of the whole process: several environments may load one.
struct Loaded {
  std::string path;
  const RuleDeclaration* declaration;
};
std::mutex mutex;
std::map<std::string, Loaded>& loaded() {
  static auto* const rules = new std::map<std::string, Loaded>;  // never destroyed, as the networks of other threads
  return *rules;
}

const RuleDeclaration* find_loaded(const std::string& name) {
  const std::lock_guard lock(mutex);
  const auto found = loaded().find(name);
  return found == loaded().end() ? nullptr : found->second.declaration;
}

template <typename Function>
Function* function_in(void* library, const char* name) {
  return reinterpret_cast<Function*>(dlsym(library, name));
}

const RuleDeclaration& declaration_in(const std::string& path, const std::string& build) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  TORCH_CHECK(library != nullptr, "the rule's file cannot be loaded: ", dlerror());
  auto* const build_of = function_in<const char*()>(library, "cortorch_rule_build");
  auto* const declaration_of = function_in<const RuleDeclaration*()>(library, "cortorch_rule");
  TORCH_CHECK(build_of != nullptr && declaration_of != nullptr, "the file declares no rule: end it with CORTORCH_RULE");
  TORCH_CHECK(build_of() == build, "the rule was compiled for another version of cortorch, or another build of it");
  return *declaration_of();
}

}  // namespace

const RuleDeclaration& load_rule(const std::string& path, const std::string& build) {
  const RuleDeclaration& declaration = declaration_in(path, build);
  const std::string& name = declaration.name;
  const bool fits = !name.empty() && name[0] >= 'a' && name[0] <= 'z' &&
                    name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
  TORCH_CHECK(fits, "a rule cannot be called '", name,
              "': expected small letters, digits and hyphens, beginning with a letter");
  const bool ours = std::any_of(std::begin(kRules), std::end(kRules), [&](const Entry& e) { return e.name == name; });
  TORCH_CHECK(!ours, "the rule is called ", name, ", which is one of cortorch's own; give it another name");
  const std::lock_guard lock(mutex);
  const auto [entry, is_new] = loaded().emplace(name, Loaded{path, &declaration});
  TORCH_CHECK(is_new || entry->second.path == path, "another rule that is called ", name,
              " is loaded already; a process takes one of a name");
  return *entry->second.declaration;
}

std::unique_ptr<Rule> make_rule(const std::string& name, Options& options) {
  std::string known;
  for (const Entry& entry : kRules) {
    if (entry.name == name) return entry.make(entry.name, options);
    known.append(known.empty() ? "" : ", ").append(entry.name);
  }
  const RuleDeclaration* own = find_loaded(name);
  TORCH_CHECK(own != nullptr, "unknown rule '", name, "'; known are ", known);
  for (const RuleOption& option : own->options) {
    if (options.has(option.name)) continue;
    options.set(option.name, option.is_word ? Options::Value(option.word) : Options::Value(option.number));
  }
  return own->make(name, options);
}

}  // namespace cortorch
