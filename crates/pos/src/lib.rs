//! A traditional POS terminal in software, scriptable from the command line
