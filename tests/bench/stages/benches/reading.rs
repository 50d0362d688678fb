//! Reading: bytes of a landing object to Arrow batches, by the lake and by libraries.

use divan::{Bencher, counter::BytesCount};
use lake::tables::Stream;
use stages::feeds::{self, Form};
use stages::peers::{self, Read};

fn main() {
    stages::checks::the_same_columns();
    divan::main();
}

fn read(bencher: Bencher<'_, '_>, stream: Stream, bytes: &[u8], read: Read) {
    bencher
        .counter(BytesCount::of_slice(feeds::lines(stream)))
        .bench(|| read(divan::black_box(stream), divan::black_box(bytes)));
}

macro_rules! lines {
    ($($name:ident),+) => {
        mod lines {
            use super::*;
            $(#[divan::bench(args = Stream::ALL)]
            fn $name(bencher: Bencher<'_, '_>, stream: Stream) {
                read(bencher, stream, feeds::lines(stream), peers::$name);
            })+
        }
    };
}

lines!(
    lake,
    serde_json_struct,
    serde_json_value,
    simd_json_struct,
    sonic_stream,
    sonic_lines,
    sonic_lazy
);

macro_rules! array {
    ($($name:ident => $read:ident),+) => {
        mod array {
            use super::*;
            $(#[divan::bench(args = Stream::ALL)]
            fn $name(bencher: Bencher<'_, '_>, stream: Stream) {
                read(bencher, stream, &feeds::in_form(stream, Form::Array), peers::$read);
            })+
        }
    };
}

array!(
    lake => lake, serde_json_struct => serde_json_array, simd_json_struct => simd_json_array,
    sonic_struct => sonic_array
);

/// The lake alone, in the forms that no library takes as they are.
#[divan::bench(args = [Form::Joined, Form::Gzip])]
fn accelerometer_in_form(bencher: Bencher<'_, '_>, form: Form) {
    let stream = Stream::Accelerometer;
    read(bencher, stream, &feeds::in_form(stream, form), peers::lake);
}
