// Work shared between the calling thread and the threads of XLA's pool, without ever waiting for a thread that has not
// begun: the caller takes whatever nobody else has taken.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

namespace so3krates {

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

// A sequence of stages, each of so many independent pieces; all of a stage are done before the next begins.
class Team {
 public:
  Team() : state_(std::make_shared<State>()) { state_->leader = std::this_thread::get_id(); }

  // Asks for helpers by `schedule(std::function<void()>)`; they work until the team is gone.
  template <class Schedule>
  void enlist(int64_t helpers, const Schedule& schedule) {
    for (int64_t n = 0; n < helpers; ++n) schedule([state = state_] { state->help(); });
  }

  ~Team() { state_->over.store(true, std::memory_order_release); }

  void run(int64_t pieces, const std::function<void(int64_t)>& work) { state_->lead(pieces, work); }

  // Whether any piece of work ended with an exception, which means that there was no memory.
  bool failed() const { return state_->failed.load(std::memory_order_acquire); }

 private:
  struct State {
    std::atomic<bool> over{false};
    // Stage number in the high half, next free piece in the low half: taking a piece of a stage that is over fails.
    std::atomic<uint64_t> next{0};
    std::atomic<int64_t> pieces{0}, done{0};
    std::atomic<bool> failed{false};
    const std::function<void(int64_t)>* work = nullptr;
    std::thread::id leader;

    bool take(uint64_t stage, int64_t& piece) {
      uint64_t seen = next.load(std::memory_order_acquire);
      while ((seen >> 32) == stage && static_cast<int64_t>(seen & 0xffffffffu) < pieces.load(std::memory_order_acquire)) {
        if (next.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel)) {
          piece = static_cast<int64_t>(seen & 0xffffffffu);
          return true;
        }
      }
      return false;
    }

    void lead(int64_t count, const std::function<void(int64_t)>& job) {
      const uint64_t stage = (next.load(std::memory_order_relaxed) >> 32) + 1;
      // Closed while it is prepared: no piece of it can be taken.
      pieces.store(0, std::memory_order_release);
      next.store(stage << 32, std::memory_order_release);
      work = &job;
      done.store(0, std::memory_order_release);
      pieces.store(count, std::memory_order_release);
      int64_t piece;
      while (take(stage, piece)) finish(piece);
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
      Patience patience;
      while (!over.load(std::memory_order_acquire)) {
        const uint64_t stage = next.load(std::memory_order_acquire) >> 32;
        int64_t piece;
        if (stage > 0 && take(stage, piece)) {
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
