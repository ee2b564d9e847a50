//! The QM coder (T.82, 6.8): a binary arithmetic coder. What it learns is, for each context, which value is the likely one
//! and how likely it is, as a state of a table of the standard.

/// The states, T.82 table 24: size of the less likely part of the interval, the state after a surprise, the state after
/// a confirmation, and whether a surprise changes which value is the likely one.
#[rustfmt::skip]
const STATES: [(u32, u8, u8, u8); 113] = [
    (0x5A1D, 1, 1, 1), (0x2586, 14, 2, 0), (0x1114, 16, 3, 0), (0x080B, 18, 4, 0),
    (0x03D8, 20, 5, 0), (0x01DA, 23, 6, 0), (0x00E5, 25, 7, 0), (0x006F, 28, 8, 0),
    (0x0036, 30, 9, 0), (0x001A, 33, 10, 0), (0x000D, 35, 11, 0), (0x0006, 9, 12, 0),
    (0x0003, 10, 13, 0), (0x0001, 12, 13, 0), (0x5A7F, 15, 15, 1), (0x3F25, 36, 16, 0),
    (0x2CF2, 38, 17, 0), (0x207C, 39, 18, 0), (0x17B9, 40, 19, 0), (0x1182, 42, 20, 0),
    (0x0CEF, 43, 21, 0), (0x09A1, 45, 22, 0), (0x072F, 46, 23, 0), (0x055C, 48, 24, 0),
    (0x0406, 49, 25, 0), (0x0303, 51, 26, 0), (0x0240, 52, 27, 0), (0x01B1, 54, 28, 0),
    (0x0144, 56, 29, 0), (0x00F5, 57, 30, 0), (0x00B7, 59, 31, 0), (0x008A, 60, 32, 0),
    (0x0068, 62, 33, 0), (0x004E, 63, 34, 0), (0x003B, 32, 35, 0), (0x002C, 33, 9, 0),
    (0x5AE1, 37, 37, 1), (0x484C, 64, 38, 0), (0x3A0D, 65, 39, 0), (0x2EF1, 67, 40, 0),
    (0x261F, 68, 41, 0), (0x1F33, 69, 42, 0), (0x19A8, 70, 43, 0), (0x1518, 72, 44, 0),
    (0x1177, 73, 45, 0), (0x0E74, 74, 46, 0), (0x0BFB, 75, 47, 0), (0x09F8, 77, 48, 0),
    (0x0861, 78, 49, 0), (0x0706, 79, 50, 0), (0x05CD, 48, 51, 0), (0x04DE, 50, 52, 0),
    (0x040F, 50, 53, 0), (0x0363, 51, 54, 0), (0x02D4, 52, 55, 0), (0x025C, 53, 56, 0),
    (0x01F8, 54, 57, 0), (0x01A4, 55, 58, 0), (0x0160, 56, 59, 0), (0x0125, 57, 60, 0),
    (0x00F6, 58, 61, 0), (0x00CB, 59, 62, 0), (0x00AB, 61, 63, 0), (0x008F, 61, 32, 0),
    (0x5B12, 65, 65, 1), (0x4D04, 80, 66, 0), (0x412C, 81, 67, 0), (0x37D8, 82, 68, 0),
    (0x2FE8, 83, 69, 0), (0x293C, 84, 70, 0), (0x2379, 86, 71, 0), (0x1EDF, 87, 72, 0),
    (0x1AA9, 87, 73, 0), (0x174E, 72, 74, 0), (0x1424, 72, 75, 0), (0x119C, 74, 76, 0),
    (0x0F6B, 74, 77, 0), (0x0D51, 75, 78, 0), (0x0BB6, 77, 79, 0), (0x0A40, 77, 48, 0),
    (0x5832, 80, 81, 1), (0x4D1C, 88, 82, 0), (0x438E, 89, 83, 0), (0x3BDD, 90, 84, 0),
    (0x34EE, 91, 85, 0), (0x2EAE, 92, 86, 0), (0x299A, 93, 87, 0), (0x2516, 86, 71, 0),
    (0x5570, 88, 89, 1), (0x4CA9, 95, 90, 0), (0x44D9, 96, 91, 0), (0x3E22, 97, 92, 0),
    (0x3824, 99, 93, 0), (0x32B4, 99, 94, 0), (0x2E17, 93, 86, 0), (0x56A8, 95, 96, 1),
    (0x4F46, 101, 97, 0), (0x47E5, 102, 98, 0), (0x41CF, 103, 99, 0), (0x3C3D, 104, 100, 0),
    (0x375E, 99, 93, 0), (0x5231, 105, 102, 0), (0x4C0F, 106, 103, 0), (0x4639, 107, 104, 0),
    (0x415E, 103, 99, 0), (0x5627, 105, 106, 1), (0x50E7, 108, 107, 0), (0x4B85, 109, 103, 0),
    (0x5597, 110, 109, 0), (0x504F, 111, 107, 0), (0x5A10, 110, 111, 1), (0x5522, 112, 109, 0),
    (0x59EB, 112, 111, 1),
];

/// Contexts of a template of ten dots.
const CONTEXTS: usize = 1024;
/// An interval below this is doubled.
const HALF: u32 = 0x8000;

#[derive(Clone, Copy, Default)]
struct Estimate {
    state: u8,
    likely: bool,
}

/// What has been learnt, context by context.
#[derive(Clone)]
pub(crate) struct Model(Vec<Estimate>);

/// One context in use.
struct Learner<'a> {
    estimate: &'a mut Estimate,
    row: (u32, u8, u8, u8),
}

impl Model {
    pub fn new() -> Self {
        Self(vec![Estimate::default(); CONTEXTS])
    }

    /// `None`: no context has this number.
    fn at(&mut self, context: usize) -> Option<Learner<'_>> {
        let estimate = self.0.get_mut(context)?;
        let row = *STATES.get(usize::from(estimate.state))?;
        Some(Learner { estimate, row })
    }
}

impl Learner<'_> {
    fn confirm(self) {
        self.estimate.state = self.row.2;
    }

    fn surprise(self) {
        self.estimate.state = self.row.1;
        self.estimate.likely ^= self.row.3 == 1;
    }
}

/// Encodes one stripe.
pub(crate) struct Encoder {
    low: u32,
    range: u32,
    /// Doublings until a byte is whole.
    until_byte: u32,
    bytes: Vec<u8>,
}

impl Encoder {
    pub fn new() -> Self {
        Self { low: 0, range: 0x1_0000, until_byte: 11, bytes: Vec::new() }
    }

    pub fn code(&mut self, model: &mut Model, context: usize, bit: bool) {
        let Some(learner) = model.at(context) else { return };
        let less = learner.row.0;
        let likely = bit == learner.estimate.likely;
        self.range -= less;
        if likely && self.range >= HALF {
            return;
        }
        // Whichever value is the likely one gets the larger part; the upper part has the size of the table.
        if likely == (self.range < less) {
            self.low += self.range;
            self.range = less;
        }
        if likely {
            learner.confirm()
        } else {
            learner.surprise()
        }
        while self.range < HALF {
            self.range <<= 1;
            self.low <<= 1;
            self.until_byte -= 1;
            if self.until_byte == 0 {
                self.byte();
                self.until_byte = 8;
            }
        }
    }

    fn byte(&mut self) {
        if self.low >> 27 != 0 {
            self.carry();
        }
        self.bytes.push((self.low >> 19 & 0xFF) as u8);
        self.low &= 0x7_FFFF;
    }

    /// Adds one to what has been written.
    fn carry(&mut self) {
        for byte in self.bytes.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }

    /// The shortest code within the interval; the decoder reads zeros beyond its end.
    pub fn finish(mut self) -> Vec<u8> {
        let top = (self.low + self.range - 1) & !0xFFFF;
        self.low = if top < self.low { top + HALF } else { top };
        self.low <<= self.until_byte;
        self.byte();
        self.low <<= 8;
        self.byte();
        while self.bytes.last() == Some(&0) {
            self.bytes.pop();
        }
        self.bytes
    }
}

/// Decodes one stripe.
pub(crate) struct Decoder<'a> {
    bytes: std::slice::Iter<'a, u8>,
    /// Where the code is in the interval; its upper half is compared.
    code: u32,
    range: u32,
    /// Doublings until the next byte is read.
    until_byte: u32,
}

impl<'a> Decoder<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { bytes: bytes.iter(), code: 0, range: 0x1_0000, until_byte: 0 };
        decoder.code = decoder.byte() << 24 | decoder.byte() << 16;
        decoder
    }

    fn byte(&mut self) -> u32 {
        self.bytes.next().copied().map(u32::from).unwrap_or_default()
    }

    pub fn bit(&mut self, model: &mut Model, context: usize) -> bool {
        let Some(learner) = model.at(context) else { return false };
        let less = learner.row.0;
        let mut bit = learner.estimate.likely;
        self.range -= less;
        let upper = self.code >> 16 >= self.range;
        if !upper && self.range >= HALF {
            return bit;
        }
        let likely = upper == (self.range < less);
        if upper {
            self.code -= self.range << 16;
            self.range = less;
        }
        if likely {
            learner.confirm();
        } else {
            bit = !bit;
            learner.surprise();
        }
        while self.range < HALF {
            if self.until_byte == 0 {
                self.code |= self.byte() << 8;
                self.until_byte = 8;
            }
            self.range <<= 1;
            self.code <<= 1;
            self.until_byte -= 1;
        }
        bit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No state leads out of the table, so that no context is ever without one.
    #[test]
    fn every_state_leads_to_a_state() {
        for (less, surprise, confirm, switch) in STATES {
            assert!((1..HALF).contains(&less) && switch < 2);
            assert!(usize::from(surprise.max(confirm)) < STATES.len());
        }
    }
}
