//! Event files for TensorBoard, as Keras's `TensorBoard` callback writes them: `DIR/train` and `DIR/validation`, with
//! the scalars `epoch_loss` and `epoch_accuracy`.
//!
//! An event file is a list of records (tensorflow/core/lib/io/record_writer.h): length, masked CRC-32C of the length,
//! bytes, masked CRC-32C of the bytes. The bytes are an `Event` message (tensorflow/core/util/event.proto): the time,
//! the step and a scalar; in the first record, the time and the version of the format.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::history::History;

/// Writes the history into `folder/train` and `folder/validation` and returns the paths of the two files. `seconds`,
/// since 1970, is the time of all events and part of the files' names.
///
/// # Errors
/// When a folder or a file cannot be written.
pub fn write(folder: &Path, history: &History, seconds: f64) -> io::Result<Vec<PathBuf>> {
    let curves = [
        ("train", [("epoch_loss", &history.loss), ("epoch_accuracy", &history.accuracy)]),
        ("validation", [("epoch_loss", &history.val_loss), ("epoch_accuracy", &history.val_accuracy)]),
    ];
    let mut written = Vec::new();
    for (name, scalars) in curves {
        let folder = folder.join(name);
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("events.out.tfevents.{}.icebox.{}", seconds as u64, std::process::id()));
        fs::write(&path, events(&scalars, seconds))?;
        written.push(path);
    }
    Ok(written)
}

/// The bytes of an event file: a version record, then a record for each epoch of each scalar.
fn events(scalars: &[(&str, &Vec<f64>)], seconds: f64) -> Vec<u8> {
    let mut file = record(&event(seconds, None, &bytes_field(3, b"brain.Event:2")));
    for (tag, values) in scalars {
        for (step, &value) in (0..).zip(*values) {
            // Summary.Value: tag, simple_value; in a Summary; in the Event's field 5.
            let value = [bytes_field(1, tag.as_bytes()), float_field(2, value as f32)].concat();
            file.extend(record(&event(seconds, Some(step), &bytes_field(5, &bytes_field(1, &value)))));
        }
    }
    file
}

/// An `Event` message: wall_time, step, and one more field.
fn event(seconds: f64, step: Option<u64>, content: &[u8]) -> Vec<u8> {
    let mut message = vec![(1 << 3) | 1];
    message.extend(seconds.to_le_bytes());
    if let Some(step) = step {
        message.push(2 << 3);
        message.extend(varint(step));
    }
    message.extend(content);
    message
}

/// A message as a record of the file.
fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length), message, &masked_crc(message)].concat()
}

/// The CRC rotated and offset, since the CRC of data that contains CRCs is weak (tensorflow/core/lib/hash/crc32c.h).
fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// A protobuf field of bytes: text or a message.
fn bytes_field(field: u8, bytes: &[u8]) -> Vec<u8> {
    [&[(field << 3) | 2][..], &varint(bytes.len() as u64), bytes].concat()
}

/// A protobuf field of one float32.
fn float_field(field: u8, value: f32) -> Vec<u8> {
    [&[(field << 3) | 5][..], &value.to_le_bytes()].concat()
}

/// A protobuf integer: seven bits a byte, the lowest first.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Epoch;

    /// `tf.io.TFRecordWriter` on `Event(wall_time=1.5, step=300, summary=…(tag="epoch_loss", simple_value=0.25))`.
    const BY_TENSORFLOW: &str =
        "2100000000000000017becf609000000000000f83f10ac022a130a110a0a65706f63685f6c6f7373150000803ed2f16c2f";

    #[test]
    fn a_record_matches_tensorflow_byte_for_byte() {
        let value = [bytes_field(1, b"epoch_loss"), float_field(2, 0.25)].concat();
        let record = record(&event(1.5, Some(300), &bytes_field(5, &bytes_field(1, &value))));
        let hexadecimal: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hexadecimal, BY_TENSORFLOW);
    }

    #[test]
    fn both_files_have_an_event_for_each_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let mut history = History::default();
        for k in 0..3 {
            let value = f64::from(k);
            history.push(Epoch { loss: value, accuracy: 0.5, val_loss: 1.0, val_accuracy: 0.5 });
        }
        let written = write(folder.path(), &history, 1e9).unwrap();
        assert_eq!(written.len(), 2);
        for path in written {
            let mut rest = &fs::read(path).unwrap()[..];
            let mut records = 0;
            while let Some((length, _)) = rest.split_first_chunk::<8>() {
                rest = &rest[16 + u64::from_le_bytes(*length) as usize..];
                records += 1;
            }
            assert_eq!((records, rest.len()), (7, 0), "a version, and two scalars for three epochs");
        }
    }
}
