//! Randomly damaged files.

use proptest::prelude::*;
use proptest::sample::Index;

/// A change of a file.
#[derive(Debug, Clone)]
enum Edit {
    /// Replaces a byte.
    Set(Index, u8),
    /// Flips one of the eight bits of a byte.
    FlipBit(Index, u8),
    /// Replaces a byte by a decimal digit.
    SetDigit(Index, u8),
    /// Removes the bytes between two positions.
    Remove(Index, Index),
    /// Repeats the bytes between two positions at the first one.
    Repeat(Index, Index),
    /// Cuts the file off.
    Truncate(Index),
}

impl Edit {
    fn any() -> impl Strategy<Value = Self> {
        let index = any::<Index>;
        prop_oneof![
            (index(), any::<u8>()).prop_map(|(at, byte)| Self::Set(at, byte)),
            (index(), 0..8u8).prop_map(|(at, bit)| Self::FlipBit(at, bit)),
            (index(), 0..10u8).prop_map(|(at, digit)| Self::SetDigit(at, digit)),
            (index(), index()).prop_map(|(from, to)| Self::Remove(from, to)),
            (index(), index()).prop_map(|(from, to)| Self::Repeat(from, to)),
            index().prop_map(Self::Truncate),
        ]
    }

    fn apply(&self, file: &mut Vec<u8>) {
        if file.is_empty() {
            return file.push(0);
        }
        let length = file.len();
        match self {
            Self::Set(at, byte) => file[at.index(length)] = *byte,
            Self::FlipBit(at, bit) => file[at.index(length)] ^= 1 << bit,
            Self::SetDigit(at, digit) => file[at.index(length)] = b'0' + digit,
            Self::Remove(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                file.drain(from.min(to)..from.max(to));
            }
            Self::Repeat(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                let repeated = file[from.min(to)..from.max(to)].to_vec();
                file.splice(from..from, repeated);
            }
            Self::Truncate(at) => file.truncate(at.index(length)),
        }
    }
}

/// A valid file with one to five random edits.
pub fn mangled(file: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(Edit::any(), 1..6).prop_map(move |edits| {
        let mut mangled = file.clone();
        for edit in edits {
            edit.apply(&mut mangled);
        }
        mangled
    })
}
