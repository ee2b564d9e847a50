//! A list that only grows, kept in blocks: a long record never moves as a whole to a larger place, which at hundreds of
//! thousands of transactions would hold up every answer for as long as it takes to copy them.

/// Elements of a block.
const BLOCK: usize = 4_096;

/// A list that only grows.
#[derive(Clone, Debug)]
pub struct Growing<T>(Vec<Vec<T>>);

impl<T> Default for Growing<T> {
    fn default() -> Self {
        Growing(Vec::new())
    }
}

impl<T> Growing<T> {
    /// Adds an element at the end.
    pub fn push(&mut self, element: T) {
        match self.0.last_mut().filter(|block| block.len() < BLOCK) {
            Some(block) => block.push(element),
            None => {
                let mut block = Vec::with_capacity(BLOCK);
                block.push(element);
                self.0.push(block);
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * BLOCK + last.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The element at a place, counted from 0.
    pub fn get(&self, place: usize) -> Option<&T> {
        self.0.get(place / BLOCK)?.get(place % BLOCK)
    }

    /// As [`Growing::get`], to change it.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.0.get_mut(place / BLOCK)?.get_mut(place % BLOCK)
    }

    /// From the first to the last.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.0.iter().flatten()
    }

    /// As [`Growing::iter`], to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Over several blocks every element stays where it was put, and can be changed there.
    #[test]
    fn elements_stay_in_their_places() {
        let mut list = Growing::default();
        assert!(list.is_empty() && list.get(0).is_none());
        let count = 2 * BLOCK + 1;
        for number in 0..count {
            list.push(number);
            assert_eq!(list.len(), number + 1);
        }
        assert_eq!(list.iter().copied().collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
        for place in [0, BLOCK - 1, BLOCK, 2 * BLOCK] {
            assert_eq!(list.get(place), Some(&place));
            *list.get_mut(place).unwrap() += 1;
            assert_eq!(list.get(place), Some(&(place + 1)));
        }
        assert_eq!(list.get(count), None);
        assert_eq!(list.iter_mut().count(), count);
    }
}
