"""Writes damaged photos, the same ones for the same seed.

    python mutate_photos.py BASES OUT COUNT [SEED]

Writes COUNT files into OUT/broken. Each is a picture of the folder BASES that was cut off, or in which bytes were
changed, inserted or removed, or a number was replaced by an extreme one. Half of the PNGs get valid checksums, without
which their decoder stops early. OUT/whole gets the unchanged pictures.
"""
import os
import random
import shutil
import struct
import sys
import zlib

bases, out, count, *seed = sys.argv[1:]
random = random.Random(int(seed[0]) if seed else 1)
PICTURES = (".jpg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
names = sorted(name for name in os.listdir(bases) if name.endswith(PICTURES))
pictures = [open(os.path.join(bases, name), "rb").read() for name in names]


def cut(data):
    return data[:random.randrange(len(data))]


def change(data):
    data = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        place = random.randrange(len(data))
        data[place] = random.choice((random.randrange(256), data[place] ^ 1 << random.randrange(8), 0, 255))
    return bytes(data)


def insert(data):
    place = random.randrange(len(data))
    start = random.randrange(len(data))
    new = random.choice((random.randbytes(random.randrange(1, 9)), data[start:start + random.randrange(1, 65)]))
    return data[:place] + new + data[place:]


def remove(data):
    place = random.randrange(len(data))
    return data[:place] + data[place + random.choice((1, 2, 4, random.randrange(1, 65))):]


def extreme_number(data):
    """Replaces two or four bytes, mostly near the start, where lengths are, by an extreme number."""
    size = random.choice((2, 4))
    place = random.randrange(min(len(data), random.choice((32, 64, 256, len(data)))))
    number = random.choice((0, 1, 0x7F, 0x80, 0x3FFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF))
    number = (number % 256**size).to_bytes(size, random.choice(("big", "little")))
    return data[:place] + number + data[place + size:]


def with_checksums(png):
    """The PNG with valid checksums of all chunks that are complete."""
    data, place = bytearray(png), 8
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place:place + 4], "big")
        if end + 4 > len(data):
            break
        data[end:end + 4] = struct.pack(">I", zlib.crc32(data[place + 4:end]))
        place = end + 4
    return bytes(data)


for folder in ("whole", "broken"):
    os.makedirs(os.path.join(out, folder))
for name in names:
    shutil.copy(os.path.join(bases, name), os.path.join(out, "whole", name))
for k in range(int(count)):
    picture = k % len(names)
    data = pictures[picture]
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        data = random.choice((cut, change, change, insert, remove, extreme_number, extreme_number))(data) or b"\0"
    if names[picture].endswith(".png") and random.random() < 0.5:
        data = with_checksums(data)
    with open(os.path.join(out, "broken", f"{k:05}-{names[picture]}"), "wb") as file:
        file.write(data)
