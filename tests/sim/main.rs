//! Worlds from one seed: whole nodes and programs under loss, delay, reordering, copies and crashes.

mod support;

mod api;
mod auction;
mod beside;
mod cases;
mod chat;
mod check;
mod copies;
mod crowd;
mod drawn;
mod echo;
mod faults;
mod garbage;
mod goodput;
mod hostile;
mod libudx;
mod line;
mod matrix;
mod nat;
mod power;
mod registry;
mod relay;
mod search;
mod stores;
mod swarm;
mod transcript;
