//! The feature cache: what `extract` writes once and `head` trains on as often as you like.
//!
//! # The format, version 1
//!
//! ```text
//! CACHE/
//!   manifest.json        format version, fingerprint, class_indices, splits with row counts and file digests;
//!                        views: their count and how they are made (only if there are any)
//!   hashes.csv           path, bytes, mtime_ns, blake3: lets the next run skip hashing; a hint that may be missing
//!   train/features.npy   (rows, columns) float32, C order, little-endian
//!   train/views.npy      (rows, views, columns) float32: augmented views of the same photos (train and all only)
//!   train/labels.npy     (rows,) int64, little-endian: the index of the row's class
//!   train/index.csv      row, path, label, blake3 of the photo's bytes
//!   train/skipped.csv    path, reason (only if a photo was skipped)
//!   shards/I-of-N/       caches of parts of the data set, before they are merged
//!   shards/I-of-N.json   ShardRecord of each
//! ```
//!
//! with one folder per split: `train`, `validation`, `test`, or `all` for a data set without splits.
//! Paths are relative to the data set, as raw bytes (a file name need not be UTF-8), with CSV quoting.
//!
//! # Guarantees
//!
//! - **A cache is complete or absent.** It is written in a hidden folder in the same directory and appears by one
//!   rename of that folder; an update exchanges the old folder for the new one in one step. (File systems that cannot
//!   exchange folders need two renames, between which there is no cache.) Its files are never changed in place, so
//!   memory maps of an old cache stay valid.
//! - **Rows with equal fingerprints are interchangeable.** [`Fingerprint`] names everything that a row depends on
//!   besides the photo's bytes; rows with different fingerprints are never in one cache.
//! - **A view has a number.** Each training photo may have further rows, of augmented views: the photo cropped,
//!   mirrored, lighter or darker, as [`Augmentation`] says. The same photo bytes, augmentation and number give the same
//!   view, whatever the file is called and however many views there are; so more views can be added without changing
//!   the others.
//! - **Every byte of a cache is covered by a checksum.** The manifest holds the length and blake3 hash of each file but
//!   hashes.csv, which has its own checksum, and a checksum of itself. [`FeatureCache::open`] checks what is cheap
//!   (lengths, headers, labels), [`verify`](fn@verify) everything.
//! - **One writer, any number of readers.** The writer holds an advisory lock ([`CacheWriter`]), which the operating
//!   system releases when its process ends. Readers need no lock: they open all files through one handle of the folder,
//!   so that all are of one cache, and start over if a writer has removed it meanwhile.
//!
//! This crate depends on neither torch nor an image decoder.

mod atomic_write;
mod regular_file;
mod class_names;
mod split;
mod difference;
mod fingerprint;
mod views;
mod shard;
mod damage;
mod error;
mod cache_folder;
mod durable;
mod npy;
mod table;
mod index;
mod hashes;
mod manifest;
mod cache;
mod verify;
mod lock;
mod shard_state;
mod journal;
mod photo_marker;
mod split_writer;
mod replace;
mod writer;
mod merge;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;

pub use atomic_write::{Durability, NewFolder, write_atomically, write_together};
pub use cache::{CachedSplit, FeatureCache};
pub use class_names::{ClassNames, ClassNamesError};
pub use damage::{Damage, LineProblem};
pub use difference::Difference;
pub use error::CacheError;
pub use fingerprint::{Fingerprint, UPRIGHT_COLOR};
pub use hashes::{HashedPhoto, Hashes};
pub use index::{IndexEntry, SkippedPhoto};
pub use journal::Journal;
pub use lock::WhenLocked;
pub use photo_marker::{InterruptedPhoto, PhotoMarker};
pub use shard::{Shard, ShardError, ShardRecord};
pub use shard_state::ShardState;
pub use split::Split;
pub use verify::{Finding, SharedPhoto, photos_in_two_splits, verify};
pub use views::{Augmentation, Views};
pub use writer::{CacheContents, CacheWriter, RowSource, SplitContents, write_cache};

#[cfg(target_endian = "big")]
compile_error!("the cache's arrays are little-endian and are mapped into memory as they are");
