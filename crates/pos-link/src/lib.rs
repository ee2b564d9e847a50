//! 8583 over TCP: the door for POS terminals
