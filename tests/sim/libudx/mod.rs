//! The scenarios of the test programs of libudx and udx-native, told again in virtual time. The table in
//! `vendor-protocol-notes/udx.md` says which story follows which program, and `table` holds the two to each other.

mod net;

mod closing;
mod congestion;
mod loss;
mod relay;
mod sending;
mod starting;
mod table;
mod window;
