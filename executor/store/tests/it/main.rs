//! Tests of the store through its public interface.

mod archive;
mod bed;
mod children;
mod collecting;
mod crowds;
mod extracting;
mod finding;
mod flattening;
mod full_disk;
mod gnu_tar;
mod hostile;
mod imports;
mod ingesting;
mod limits;
mod malformed;
mod merging;
mod mutations;
mod other_ids;
mod power;
mod readers;
mod recipes;
mod removed;
mod removing;
mod storing;
mod verifying;
