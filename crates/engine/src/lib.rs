//! Admit, authenticate, journal, route, complete, reverse: one engine behind every door
