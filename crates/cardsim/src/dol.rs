//! Data object lists, from the card's side: which bytes of a command are which object.

/// Tag and length of each entry; none when the list is broken.
pub(crate) fn parse(list: &[u8]) -> Option<Vec<(u32, usize)>> {
    let mut rest = list;
    let mut out = Vec::new();
    while let Some((first, mut after)) = rest.split_first() {
        let mut tag = u32::from(*first);
        if first & 0x1F == 0x1F {
            loop {
                let (next, more) = after.split_first()?;
                after = more;
                tag = (tag << 8) | u32::from(*next);
                if next & 0x80 == 0 {
                    break;
                }
                if tag > 0xFF_FFFF {
                    return None;
                }
            }
        }
        let (length, more) = after.split_first()?;
        out.push((tag, usize::from(*length)));
        rest = more;
    }
    Some(out)
}

/// The objects in `data`; none when its length is not the list's.
pub(crate) fn split(list: &[u8], data: &[u8]) -> Option<Vec<(u32, Vec<u8>)>> {
    let mut rest = data;
    let mut out = Vec::new();
    for (tag, length) in parse(list)? {
        let (value, after) = rest.split_at_checked(length)?;
        out.push((tag, value.to_vec()));
        rest = after;
    }
    rest.is_empty().then_some(out)
}
