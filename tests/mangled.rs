//! Files as a fault or a stranger may leave them.

use proptest::prelude::*;
use proptest::sample::Index;

/// A valid file with a few bytes changed, cut out, repeated, or its end missing.
pub fn mangled(file: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<Index>(), any::<Index>(), 0..6, any::<u8>());
    prop::collection::vec(edit, 1..6).prop_map(move |edits| {
        edits.into_iter().fold(file.clone(), |mut file, (a, b, kind, value)| {
            let (a, b) = (a.index(file.len().max(1)), b.index(file.len().max(1)));
            match (kind, file.get_mut(a)) {
                (_, None) => file.push(value),
                (0, Some(byte)) => *byte = value,
                (1, Some(byte)) => *byte ^= 1 << (value % 8),
                (2, Some(byte)) => *byte = b'0' + value % 10,
                (3, _) => drop(file.drain(a.min(b)..a.max(b))),
                (4, _) => drop(file.splice(a..a, file[a.min(b)..a.max(b)].to_vec())),
                (_, _) => file.truncate(a),
            }
            file
        })
    })
}
