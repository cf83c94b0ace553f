// The table of loads under way: a hash table by chaining. Finding a key may run __eq__, after which
// it starts again if anything moved.
#include "bindings/cache/load_table.h"

#include <algorithm>

#include "bindings/base/ref.h"

namespace mcp::python {
namespace {

LoadTable* first_table = nullptr;

bool carries_one_of(const LoadTags& tags, const std::vector<std::string>& names) noexcept {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return std::find(tags.names.begin(), tags.names.end(), name) != tags.names.end();
  });
}

}  // namespace

bool is_in_chain(const Load* load, const Load* chain) noexcept {
  for (; chain != nullptr; chain = chain->parent) {
    if (chain == load) return true;
  }
  return false;
}

LoadTable::LoadTable() : buckets_(8) {
  next_table_ = first_table;
  if (first_table != nullptr) first_table->previous_table_ = this;
  first_table = this;
}

LoadTable::~LoadTable() {
  clear();
  if (next_table_ != nullptr) next_table_->previous_table_ = previous_table_;
  (previous_table_ != nullptr ? previous_table_->next_table_ : first_table) = next_table_;
}

Load* LoadTable::find(const KeyView& view, const Load* except, bool& failed) {
  failed = false;
  const auto hash = static_cast<std::uint64_t>(view.hash);
  for (Load* load = buckets_[hash & (buckets_.size() - 1)]; load != nullptr; load = load->next) {
    if (load->hash != hash || load == except) continue;
    const Match match = matches_fast(load->key, view);
    if (match == Match::kEqual) return load;
    if (match == Match::kDifferent) continue;
    const std::uint64_t version = version_;
    const Ref key = Ref::borrow(load->key);
    const int equal = matches_slow(key.get(), view);
    if (equal < 0) {
      failed = true;
      return nullptr;
    }
    if (version != version_) return find(view, except, failed);  // __eq__ changed the table
    if (equal) return load;
  }
  return nullptr;
}

Load* LoadTable::find_open(const KeyView& view, bool& failed) {
  Load* load = find(view, nullptr, failed);
  if (load == nullptr || load->is_open) return load;
  remove(*load);
  return nullptr;
}

bool LoadTable::fence(const KeyView& view) {
  const Load* spared = nullptr;
  while (count_ != 0) {
    bool failed = false;
    Load* load = find(view, spared, failed);
    if (load == nullptr) return !failed;
    if (spared == nullptr && load->is_storing && is_in_chain(load, current_load())) {
      spared = load;
    } else {
      remove(*load);
    }
  }
  return true;
}

void LoadTable::fence_tags(const std::vector<std::string>& names) noexcept {
  if (count_ == 0) return;
  for (Load*& head : buckets_) {
    for (Load** at = &head; *at != nullptr;) {
      Load* load = *at;
      if (!load->tags.are_known) load->is_open = false;
      if (!load->tags.are_known || !carries_one_of(load->tags, names)) {
        at = &load->next;
        continue;
      }
      *at = load->next;
      load->table = nullptr;
      --count_;
    }
  }
  ++version_;
}

void LoadTable::insert(Load& load) {
  if (count_ >= buckets_.size()) grow();
  Load*& head = buckets_[load.hash & (buckets_.size() - 1)];
  load.next = head;
  load.table = this;
  head = &load;
  ++count_;
  ++version_;
}

void LoadTable::remove(Load& load) noexcept {
  Load** at = &buckets_[load.hash & (buckets_.size() - 1)];
  while (*at != &load) at = &(*at)->next;
  *at = load.next;
  load.table = nullptr;
  --count_;
  ++version_;
}

void LoadTable::clear() noexcept {
  if (count_ == 0) return;
  for (Load*& head : buckets_) {
    for (Load* load = std::exchange(head, nullptr); load != nullptr; load = load->next) {
      load->table = nullptr;
    }
  }
  count_ = 0;
  ++version_;
}

void LoadTable::forget_other_threads() noexcept {
  const void* me = this_thread();
  for (Load*& head : buckets_) {
    for (Load** at = &head; *at != nullptr;) {
      Load* load = *at;
      if (load->thread == me) {
        at = &load->next;
        continue;
      }
      *at = load->next;
      load->table = nullptr;
      --count_;
    }
  }
  ++version_;
}

void LoadTable::grow() {
  std::vector<Load*> old(buckets_.size() * 2);
  old.swap(buckets_);
  for (Load* load : old) {
    while (load != nullptr) {
      Load* following = load->next;
      Load*& head = buckets_[load->hash & (buckets_.size() - 1)];
      load->next = head;
      head = load;
      load = following;
    }
  }
}

void forget_loads_after_fork() noexcept {
  for (LoadTable* table = first_table; table != nullptr; table = table->next_table_) {
    table->forget_other_threads();
  }
}

}  // namespace mcp::python
