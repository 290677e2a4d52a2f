//! Taking a lock. Not for anything else; every module with shared state calls it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Locks. A thread that panicked with the lock held leaves valid data behind (and in a real
/// sandbox ends the process), so poison is no reason to spread the failure.
pub fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a change of what `guard` protects.
pub fn wait<'a, T>(changed: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a change of what `guard` protects, at most so long.
pub fn wait_for<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    patience: Duration,
) -> MutexGuard<'a, T> {
    changed.wait_timeout(guard, patience).unwrap_or_else(PoisonError::into_inner).0
}
