//! The crate as its users see it.

mod index;
mod old_caches;
mod open;
