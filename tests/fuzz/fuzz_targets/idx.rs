#![no_main]

tests_fuzz::reader!(tests::targets::IDX);
