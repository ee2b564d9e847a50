//! Payment cryptography behind one trait: keys under a master key, PIN blocks, MACs, tracks, data at rest
