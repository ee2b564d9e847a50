//! Devices that type: scanners and stripe readers that pretend to be keyboards. What they type is read by a pure
//! parser; who gets the keys (a page, a terminal, an input device) feeds them in.

use std::sync::Arc;

use hal::{
    Call, Camera, CardText, Code, CodeFormat, DeviceKind, ErrorKind, HalError, MagData, MagReader, Result,
    Scanner, Signal, SwipeRequest,
};
use hal_virtual::{SecureElement, Stripe, read_stripe};

/// Longest line that a wedge types: three tracks have 79, 40 and 107 characters.
pub const LINE_MAX: usize = 512;

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// A card's tracks.
    Swipe(Stripe),
    /// Tracks that cannot be read: begin and end signs are there, what is between is none.
    BadSwipe,
    /// A code.
    Code(String),
}

/// Cuts one track out: from its begin sign to `?`.
fn track(line: &str, begin: char) -> Option<&str> {
    let (_, rest) = line.split_once(begin)?;
    rest.split_once('?').map(|(track, _)| track)
}

/// Reads one line without its end. Stripe readers type `%…?` for track 1, `;…?` for track 2 and `+…?` (or a
/// second `;`) for track 3; everything else is a code. An error of a track is typed as `E`.
pub fn parse_line(line: &str) -> Option<Typed> {
    if line.is_empty() {
        return None;
    }
    if !line.starts_with(['%', ';', '+']) {
        return Some(Typed::Code(line.to_owned()));
    }
    let second = track(line, ';');
    let after_second = line.split_once(';').and_then(|(_, rest)| rest.split_once('?')).map(|(_, rest)| rest);
    let third = track(line, '+').or_else(|| after_second.and_then(|rest| track(rest, ';')));
    let clean =
        |track: Option<&str>| track.filter(|track| *track != "E" && !track.is_empty()).map(CardText::new);
    let digits = |track: &str| track.bytes().all(|byte| byte.is_ascii_digit() || byte == b'=');
    let stripe = Stripe {
        track1: clean(track(line, '%')),
        track2: clean(second.filter(|track| digits(track))),
        track3: clean(third.filter(|track| digits(track))),
    };
    Some(if stripe.track2.is_none() { Typed::BadSwipe } else { Typed::Swipe(stripe) })
}

/// Puts typed characters together to lines. A line ends with carriage return, line feed or both.
#[derive(Debug, Default)]
pub struct Lines {
    line: String,
    /// The line is too long: it is thrown away up to its end.
    over: bool,
}

impl Lines {
    /// One character; what it completes.
    pub fn push(&mut self, typed: char) -> Option<Typed> {
        if matches!(typed, '\r' | '\n') {
            let line = std::mem::take(&mut self.line);
            let over = std::mem::take(&mut self.over);
            return if over { None } else { parse_line(&line) };
        }
        if self.line.len() >= LINE_MAX {
            self.over = true;
            self.line.clear();
        }
        if !self.over && !typed.is_control() {
            self.line.push(typed);
        }
        None
    }
}

#[derive(Default)]
struct Desk {
    lines: Lines,
    swipe_waits: u32,
    scan_waits: u32,
    swipe: Option<Typed>,
    code: Option<String>,
}

/// A scanner and a stripe reader behind one keyboard. Lines that nobody waits for are dropped, as a terminal
/// does not read a card that is swiped before the amount.
pub struct Wedge {
    desk: Arc<Signal<Desk>>,
    secure: Arc<SecureElement>,
}

impl Wedge {
    /// With the secure part that enciphers tracks.
    pub fn new(secure: Arc<SecureElement>) -> Arc<Self> {
        Arc::new(Self { desk: Signal::new(Desk::default()), secure })
    }

    /// Characters as they are typed.
    pub fn feed(&self, typed: &str) {
        self.desk.update(|desk| {
            for typed in typed.chars() {
                match desk.lines.push(typed) {
                    Some(Typed::Code(text)) if desk.scan_waits > 0 => desk.code = Some(text),
                    Some(Typed::Code(_)) | None => (),
                    swipe if desk.swipe_waits > 0 => desk.swipe = swipe,
                    Some(_) => (),
                }
            }
        });
    }

    /// Whether somebody waits for a swipe, and for a code: what a page tells the person.
    pub fn waits(&self) -> (bool, bool) {
        let desk = self.desk.lock();
        (desk.swipe_waits > 0, desk.scan_waits > 0)
    }

    /// Waits until somebody waits for a swipe or a code.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`], [`ErrorKind::UserCancelled`].
    pub fn when_waiting(&self, call: &Call) -> Result<()> {
        let waits = self.desk.wait(call, |desk| (desk.swipe_waits > 0 || desk.scan_waits > 0).then_some(()));
        waits.map_err(|interrupt| interrupt.at(DeviceKind::Manager))
    }
}

impl MagReader for Wedge {
    fn wait_swipe(&self, request: &SwipeRequest, call: &Call) -> Result<MagData> {
        self.desk.update(|desk| {
            desk.swipe = None;
            desk.swipe_waits = desk.swipe_waits.saturating_add(1);
        });
        let typed = self.desk.wait(call, |desk| desk.swipe.take());
        self.desk.update(|desk| desk.swipe_waits = desk.swipe_waits.saturating_sub(1));
        match typed.map_err(|interrupt| interrupt.at(DeviceKind::Mag))? {
            Typed::Swipe(stripe) => read_stripe(&stripe, request, &self.secure),
            _ => Err(HalError::new(ErrorKind::Comm, DeviceKind::Mag).text("the stripe cannot be read")),
        }
    }
}

impl Scanner for Wedge {
    fn cameras(&self) -> Vec<Camera> {
        vec![Camera::Front]
    }

    fn scan(&self, camera: Camera, formats: &[CodeFormat], call: &Call) -> Result<Code> {
        // A wedge does not say what it read: it serves whoever takes any kind.
        if camera != Camera::Front || !(formats.is_empty() || formats.contains(&CodeFormat::Unknown)) {
            return HalError::not_supported(DeviceKind::Scanner);
        }
        self.desk.update(|desk| {
            desk.code = None;
            desk.scan_waits = desk.scan_waits.saturating_add(1);
        });
        let text = self.desk.wait(call, |desk| desk.code.take());
        self.desk.update(|desk| desk.scan_waits = desk.scan_waits.saturating_sub(1));
        let text = text.map_err(|interrupt| interrupt.at(DeviceKind::Scanner))?;
        Ok(Code { format: CodeFormat::Unknown, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Vec<Typed> {
        let mut lines = Lines::default();
        text.chars().filter_map(|typed| lines.push(typed)).collect()
    }

    /// What readers type for one, two and three tracks, with either sign for the third.
    #[test]
    fn tracks_are_cut_at_their_signs() {
        let one = "%B6224242000000021^LAB/CARD^29022015699031007?;6224242000000021=29022015699031007?\r";
        let Some(Typed::Swipe(stripe)) = typed(one).pop() else { panic!("no swipe") };
        assert_eq!(stripe.track1.unwrap().reveal(), "B6224242000000021^LAB/CARD^29022015699031007");
        assert_eq!(stripe.track2.unwrap().reveal(), "6224242000000021=29022015699031007");
        assert!(stripe.track3.is_none());
        for sign in ['+', ';'] {
            let text = format!(";6224242000000021=29022015699031007?{sign}996224242000000021==1560?\r\n");
            let Some(Typed::Swipe(stripe)) = typed(&text).pop() else { panic!("no swipe") };
            assert_eq!(stripe.track3.unwrap().reveal(), "996224242000000021==1560");
        }
    }

    /// A track that could not be read, one that has letters, and one that never ended: a bad swipe, not a code.
    #[test]
    fn a_bad_swipe_is_no_code() {
        for text in [";E?\r", "%E?;E?\r", ";62242A2000000021=2902?\r", ";6224242000000021=2902\r"] {
            assert_eq!(typed(text), [Typed::BadSwipe], "{text}");
        }
    }

    /// Codes come line by line, empty lines are nothing, and a line without end is thrown away, not kept.
    #[test]
    fn codes_are_lines() {
        let codes = typed("6212345678901234567\r\n\r\nhttps://qr.example/1\n");
        assert_eq!(
            codes,
            [Typed::Code("6212345678901234567".to_owned()), Typed::Code("https://qr.example/1".to_owned()),]
        );
        let long = format!("{}\r12345\r", "9".repeat(10_000));
        assert_eq!(typed(&long), [Typed::Code("12345".to_owned())]);
    }
}
