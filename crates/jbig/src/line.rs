//! Under what a dot is coded: ten dots around it that are known already, in one of two templates (T.82, 6.7).
//!
//! ```text
//! three lines:     9 8 7          two lines:  9 8 7 6 5 A        A: the adaptive dot; it can be moved left of the dot
//!                6 5 4 3 A                    3 2 1 0 x          that is coded, for images with a pattern
//!                1 0 x
//! ```

/// The template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Template {
    Three,
    Two,
}

impl Template {
    /// The context under which it is coded whether a line is typical (T.82, figures 8 and 9).
    pub fn typical(self) -> usize {
        match self {
            Self::Three => 0x0E5,
            Self::Two => 0x195,
        }
    }

    /// Place of the adaptive dot.
    fn adaptive(self) -> usize {
        match self {
            Self::Three => 0x004,
            Self::Two => 0x010,
        }
    }
}

fn dot(line: &[bool], x: usize) -> usize {
    usize::from(line.get(x).copied().unwrap_or_default())
}

/// The two lines above; white above the image.
#[derive(Clone, Debug)]
pub(crate) struct Above {
    second: Vec<bool>,
    first: Vec<bool>,
}

impl Above {
    pub fn white(width: usize) -> Self {
        Self { second: vec![false; width], first: vec![false; width] }
    }

    /// The line directly above.
    pub fn line(&self) -> &[bool] {
        &self.first
    }

    /// The line at hand is done.
    pub fn push(&mut self, line: Vec<bool>) {
        self.second = std::mem::replace(&mut self.first, line);
    }
}

/// The dots around one dot, moving along a line.
pub(crate) struct Window<'a> {
    template: Template,
    above: &'a Above,
    /// How far left of the dot the adaptive one is; 0: in its usual place.
    moved: usize,
    second: usize,
    first: usize,
    left: usize,
}

impl<'a> Window<'a> {
    /// Before the first dot of a line.
    pub fn new(template: Template, above: &'a Above, moved: usize) -> Self {
        let first = dot(&above.first, 0) << 1 | dot(&above.first, 1);
        Self { template, above, moved, second: dot(&above.second, 0), first, left: 0 }
    }

    /// The context of the dot after `done`, the dots of this line so far.
    pub fn context(&mut self, done: &[bool]) -> usize {
        let x = done.len();
        self.left = self.left << 1 | x.checked_sub(1).map_or(0, |last| dot(done, last));
        self.second = (self.second << 1 | dot(&self.above.second, x + 1)) & 0x07;
        self.first = (self.first << 1 | dot(&self.above.first, x + 2)) & 0x3F;
        self.left &= 0x0F;
        let context = match self.template {
            Template::Three => self.second << 7 | (self.first & 0x1F) << 2 | self.left & 0x03,
            Template::Two => self.first << 4 | self.left,
        };
        if self.moved == 0 {
            return context;
        }
        let place = self.template.adaptive();
        let adaptive = x.checked_sub(self.moved).map_or(0, |x| dot(done, x));
        if adaptive == 1 { context | place } else { context & !place }
    }
}
