//! From bytes to dots.

use crate::image::{Image, ImageError, pack};
use crate::line::{Above, Template, Window};
use crate::qm::{Decoder, Model};
use crate::{ABORT, ATMOVE, COMMENT, ESC, LRLTWO, NEWLEN, SDNORM, SDRST, STUFF, TPBON, VLENGTH};

/// Bits of the options of which an image of one resolution is free: deterministic and typical prediction of others.
const OF_RESOLUTIONS: u8 = 0x14;
/// Farthest place of the adaptive dot (T.85).
const MOVE_MAX: u8 = 127;
/// Moves of the adaptive dot in one stripe; encoders make one.
const MOVES_MAX: usize = 16;

/// Why bytes are no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end early.
    #[error("the image ends early")]
    Truncated,
    /// JBIG, but not of the profile.
    #[error("not an image of ITU-T T.85: {0}")]
    NotSupported(&'static str),
    /// The header contradicts itself.
    #[error("a header of an image has {0}")]
    Header(&'static str),
    /// A marker where it cannot be.
    #[error("marker {0:02X} where none or another was expected")]
    Marker(u8),
    /// The sender gave up.
    #[error("the sender broke the image off")]
    Aborted,
    /// More dots than the caller wants.
    #[error("the image is larger than is taken")]
    TooLarge,
    /// The dots are no image.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// The header.
struct Header {
    width: u32,
    height: u32,
    stripe: u32,
    template: Template,
    typical: bool,
    changes: bool,
}

/// What is left of the bytes.
#[derive(Clone, Copy)]
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    fn header(&mut self) -> Result<Header, DecodeError> {
        let [lowest, layers, planes, _] = self.array()?;
        let (width, height, stripe) = (self.number()?, self.number()?, self.number()?);
        let [_, _, order, options] = self.array()?;
        if (lowest, layers) != (0, 0) {
            return Err(DecodeError::NotSupported("several resolutions"));
        }
        if planes != 1 {
            return Err(DecodeError::NotSupported("several planes"));
        }
        if order & 0xF0 != 0 {
            return Err(DecodeError::Header("an unknown order"));
        }
        if options & !(LRLTWO | VLENGTH | TPBON | OF_RESOLUTIONS) != 0 {
            return Err(DecodeError::NotSupported("a private table or an unknown option"));
        }
        if width == 0 || height == 0 || stripe == 0 {
            return Err(DecodeError::Header("a size of nothing"));
        }
        let template = if options & LRLTWO != 0 { Template::Two } else { Template::Three };
        let (typical, changes) = (options & TPBON != 0, options & VLENGTH != 0);
        Ok(Header { width, height, stripe, template, typical, changes })
    }

    /// The next segment in front of a stripe, or nothing: the stripe begins.
    fn floating(&mut self) -> Result<Option<Segment>, DecodeError> {
        let [ESC, marker @ (NEWLEN | ATMOVE | COMMENT), rest @ ..] = self.0 else { return Ok(None) };
        self.0 = rest;
        Ok(Some(match *marker {
            NEWLEN => Segment::Height(self.number()?),
            ATMOVE => Segment::Move { line: self.number()?, place: self.array()? },
            _ => {
                let length = self.number()? as usize;
                self.0 = self.0.get(length..).ok_or(DecodeError::Truncated)?;
                Segment::Comment
            }
        }))
    }

    /// The code of a stripe, and whether the next one begins anew.
    fn stripe(&mut self) -> Result<(Vec<u8>, bool), DecodeError> {
        let mut code = Vec::new();
        loop {
            match self.byte()? {
                ESC => match self.byte()? {
                    STUFF => code.push(ESC),
                    SDNORM => return Ok((code, false)),
                    SDRST => return Ok((code, true)),
                    ABORT => return Err(DecodeError::Aborted),
                    other => return Err(DecodeError::Marker(other)),
                },
                byte => code.push(byte),
            }
        }
    }
}

/// What may stand in front of a stripe.
enum Segment {
    Height(u32),
    Move { line: u32, place: [u8; 2] },
    Comment,
}

/// What the lines of an image are decoded with.
struct Lines {
    template: Template,
    typical: bool,
    model: Model,
    above: Above,
    /// Whether the line above was as the one above it.
    repeated: bool,
    /// Place of the adaptive dot; 0: the usual one.
    moved: usize,
}

impl Lines {
    fn new(header: &Header) -> Self {
        Self {
            template: header.template,
            typical: header.typical,
            model: Model::new(),
            above: Above::white(header.width as usize),
            repeated: false,
            moved: 0,
        }
    }

    fn next(&mut self, decoder: &mut Decoder<'_>, data: &mut Vec<u8>) {
        if self.typical {
            self.repeated ^= !decoder.bit(&mut self.model, self.template.typical());
        }
        let width = self.above.line().len();
        let line = if self.repeated {
            self.above.line().to_vec()
        } else {
            let mut line = Vec::with_capacity(width);
            let mut window = Window::new(self.template, &self.above, self.moved);
            while line.len() < width {
                let context = window.context(&line);
                line.push(decoder.bit(&mut self.model, context));
            }
            line
        };
        pack(&line, data);
        self.above.push(line);
    }
}

/// An image from a bi-level image entity. What follows its last stripe is not read.
///
/// An image is decoded from few bytes, so the caller says how many dots it may have.
///
/// # Errors
/// [`DecodeError`], for bytes that are no image of the profile, or one of more than `dots_max` dots.
pub fn decode(bytes: &[u8], dots_max: u64) -> Result<Image, DecodeError> {
    let mut input = Input(bytes);
    let header = input.header()?;
    let fits = |lines: u32| u64::from(header.width) * u64::from(lines) <= dots_max;
    // One whose height comes later announces any.
    if !fits(1) || !(header.changes || fits(header.height)) {
        return Err(DecodeError::TooLarge);
    }
    let mut height = header.height;
    let mut lines = Lines::new(&header);
    let (mut done, mut data) = (0, Vec::new());
    while done < height {
        let mut moves = Vec::new();
        while let Some(segment) = input.floating()? {
            match segment {
                Segment::Height(new) => height = shorter(&header, height, new)?,
                Segment::Move { line, place } => moves.push((line, place_of(place)?)),
                Segment::Comment => {}
            }
            if moves.len() > MOVES_MAX {
                return Err(DecodeError::NotSupported("an adaptive dot that never rests"));
            }
        }
        let (code, anew) = input.stripe()?;
        // The height of the last stripe may stand behind it.
        let mut ahead = input;
        while header.changes
            && let Ok(Some(segment)) = ahead.floating()
        {
            if let Segment::Height(new) = segment {
                height = shorter(&header, height, new)?;
            }
        }
        let count = header.stripe.min(height.saturating_sub(done));
        if !fits(done + count) {
            return Err(DecodeError::TooLarge);
        }
        let mut decoder = Decoder::new(&code);
        for line in 0..count {
            if let Some((_, place)) = moves.iter().rfind(|(at, _)| *at == line) {
                lines.moved = *place;
            }
            lines.next(&mut decoder, &mut data);
        }
        done += count;
        if anew {
            lines = Lines::new(&header);
        }
    }
    data.truncate(crate::image::row_bytes(header.width) * height as usize);
    Ok(Image::new(header.width, height, data)?)
}

/// The height after a [`NEWLEN`], which can only take away.
fn shorter(header: &Header, height: u32, new: u32) -> Result<u32, DecodeError> {
    match header.changes && (1..=height).contains(&new) {
        true => Ok(new),
        false => Err(DecodeError::Marker(NEWLEN)),
    }
}

/// The place of the adaptive dot after an [`ATMOVE`]: on the line at hand.
fn place_of([across, down]: [u8; 2]) -> Result<usize, DecodeError> {
    match across <= MOVE_MAX && down == 0 {
        true => Ok(usize::from(across)),
        false => Err(DecodeError::NotSupported("an adaptive dot far away")),
    }
}
