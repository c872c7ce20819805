// Work shared between the calling thread and the threads of XLA's pool, without ever waiting for a thread that has not
// begun: whoever has done its share takes what is left of the others'.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

namespace so3krates {

constexpr int64_t kMaxThreads = 16;

// Waiting: at first without giving up the core, since most waits are short, then for whoever else wants it.
class Patience {
 public:
  void wait() {
    if (++rounds_ > 2000) {
      std::this_thread::yield();
      return;
    }
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }

 private:
  int rounds_ = 0;
};

// A sequence of stages, each of so many independent pieces; all of a stage are done before the next begins. Every
// thread has the same share of the pieces in each stage, so that what it left in its cache serves it again.
class Team {
 public:
  Team() : state_(std::make_shared<State>()) { state_->leader = std::this_thread::get_id(); }

  // Asks for helpers by `schedule(std::function<void()>)`; they work until the team is gone. Before the first stage.
  template <class Schedule>
  void enlist(int64_t helpers, const Schedule& schedule) {
    state_->threads = std::clamp<int64_t>(helpers + 1, 1, kMaxThreads);  // where there is no pool, alone
    for (int64_t n = 1; n < state_->threads; ++n) schedule([state = state_] { state->help(); });
  }

  ~Team() { state_->over.store(true, std::memory_order_release); }

  void run(int64_t pieces, const std::function<void(int64_t)>& work) { state_->lead(pieces, work); }

  // Whether any piece of work ended with an exception, which means that there was no memory.
  bool failed() const { return state_->failed.load(std::memory_order_acquire); }

 private:
  // A thread's share of a stage. The stage's number is in the high half, the next piece in the low half: taking a piece
  // of a stage that is over fails. Shares stand in cache lines of their own.
  struct alignas(64) Share {
    std::atomic<uint64_t> next{0};
    std::atomic<int64_t> end{0};
  };

  struct State {
    std::atomic<bool> over{false};
    std::atomic<bool> failed{false};
    std::atomic<uint64_t> stage{0};
    std::atomic<int64_t> done{0};
    std::atomic<int64_t> joined{1};  // the caller is the first
    int64_t threads = 1;
    const std::function<void(int64_t)>* work = nullptr;
    std::thread::id leader;
    Share shares[kMaxThreads];

    bool take_from(Share& share, uint64_t now, int64_t& piece) {
      uint64_t seen = share.next.load(std::memory_order_acquire);
      while ((seen >> 32) == now &&
             static_cast<int64_t>(seen & 0xffffffffu) < share.end.load(std::memory_order_acquire)) {
        if (share.next.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel)) {
          piece = static_cast<int64_t>(seen & 0xffffffffu);
          return true;
        }
      }
      return false;
    }

    bool take(int64_t thread, uint64_t now, int64_t& piece) {
      for (int64_t n = 0; n < threads; ++n)
        if (take_from(shares[(thread + n) % threads], now, piece)) return true;
      return false;
    }

    void lead(int64_t count, const std::function<void(int64_t)>& job) {
      const uint64_t now = stage.load(std::memory_order_relaxed) + 1;
      work = &job;
      done.store(0, std::memory_order_release);
      for (int64_t n = 0; n < threads; ++n) {
        // Closed while it is prepared: no piece of it can be taken.
        shares[n].end.store(0, std::memory_order_release);
        shares[n].next.store(now << 32 | static_cast<uint64_t>(count * n / threads), std::memory_order_release);
        shares[n].end.store(count * (n + 1) / threads, std::memory_order_release);
      }
      stage.store(now, std::memory_order_release);
      int64_t piece;
      while (take(0, now, piece)) finish(piece);
      for (Patience patience; done.load(std::memory_order_acquire) < count;) patience.wait();
    }

    void finish(int64_t piece) {
      try {
        (*work)(piece);
      } catch (...) {
        failed.store(true, std::memory_order_release);
      }
      done.fetch_add(1, std::memory_order_acq_rel);
    }

    void help() {
      if (std::this_thread::get_id() == leader) return;  // a pool that has no room runs a task where it is scheduled
      const int64_t thread = joined.fetch_add(1, std::memory_order_acq_rel);
      Patience patience;
      while (!over.load(std::memory_order_acquire)) {
        const uint64_t now = stage.load(std::memory_order_acquire);
        int64_t piece;
        if (now > 0 && take(thread, now, piece)) {
          finish(piece);
          patience = Patience();
        } else {
          patience.wait();
        }
      }
    }
  };
  std::shared_ptr<State> state_;
};

}  // namespace so3krates
