//! Two-dimensional codes and Code 128 as images.

use fast_qr::{ECL, QRBuilder};

use crate::bitmap::Bitmap;
use crate::model::QrLevel;
use crate::render::RenderError;

/// Modules of white around a two-dimensional code (ISO/IEC 18004).
const QR_QUIET: u32 = 4;
/// Modules of white at each end of a bar code (ISO/IEC 15417).
const BAR_QUIET: u32 = 10;
/// Height of a bar code's bars, in dots.
const BAR_HEIGHT: u32 = 72;
/// White above a bar code, in dots: letters that touch the bars would be read with them.
const BAR_TOP: u32 = 8;
/// Dots of a bar code's narrowest bar when there is room.
const BAR_DOTS: u32 = 2;

/// A two-dimensional code with its white margin, at most `wide` dots across.
pub(crate) fn qr(data: &str, level: QrLevel, px: u8, wide: u32) -> Result<Bitmap, RenderError> {
    let level = match level {
        QrLevel::L => ECL::L,
        QrLevel::M => ECL::M,
        QrLevel::Q => ECL::Q,
        QrLevel::H => ECL::H,
    };
    let code = QRBuilder::new(data).ecl(level).build().map_err(|_| RenderError::Qr)?;
    let size = u32::try_from(code.size).map_err(|_| RenderError::Qr)?;
    let modules = size + 2 * QR_QUIET;
    let px = u32::from(px).clamp(1, (wide / modules).max(1));
    if modules * px > wide {
        return Err(RenderError::Qr);
    }
    let mut image = Bitmap::new(modules * px, modules * px).map_err(|_| RenderError::Qr)?;
    for y in 0..size {
        for x in 0..size {
            let at = y as usize * code.size + x as usize;
            if code.data.get(at).is_some_and(|module| module.value()) {
                image.fill((QR_QUIET + x) * px, (QR_QUIET + y) * px, px, px);
            }
        }
    }
    Ok(image)
}

/// Widths of bar, space, bar, … of the 106 symbols of Code 128 and of its stop (ISO/IEC 15417).
const SYMBOLS: [&str; 107] = [
    "212222", "222122", "222221", "121223", "121322", "131222", "122213", "122312", "132212", "221213",
    "221312", "231212", "112232", "122132", "122231", "113222", "123122", "123221", "223211", "221132",
    "221231", "213212", "223112", "312131", "311222", "321122", "321221", "312212", "322112", "322211",
    "212123", "212321", "232121", "111323", "131123", "131321", "112313", "132113", "132311", "211313",
    "231113", "231311", "112133", "112331", "132131", "113123", "113321", "133121", "313121", "211331",
    "231131", "213113", "213311", "213131", "311123", "311321", "331121", "312113", "312311", "332111",
    "314111", "221411", "431111", "111224", "111422", "121124", "121421", "141122", "141221", "112214",
    "112412", "122114", "122411", "142112", "142211", "241211", "221114", "413111", "241112", "134111",
    "111242", "121142", "121241", "114212", "124112", "124211", "411212", "421112", "421211", "212141",
    "214121", "412121", "111143", "111341", "131141", "114113", "114311", "411113", "411311", "113141",
    "114131", "311141", "411131", "211412", "211214", "211232", "2331112",
];
const CODE_B: u32 = 100;
const START_B: u32 = 104;
const START_C: u32 = 105;
const STOP: u32 = 106;

/// Symbol numbers of a text, start, check and stop included. Digits go in pairs as far as they come in pairs from the
/// beginning; what follows goes letter by letter.
fn symbols(data: &str) -> Option<Vec<u32>> {
    if data.is_empty() || !data.bytes().all(|b| (0x20..0x7F).contains(&b)) {
        return None;
    }
    let digits = data.bytes().take_while(u8::is_ascii_digit).count();
    let paired = if digits >= 4 { digits / 2 * 2 } else { 0 };
    let (pairs, letters) = data.split_at(paired);
    let mut symbols = vec![if paired > 0 { START_C } else { START_B }];
    let mut digits = pairs.bytes().map(|b| u32::from(b - b'0'));
    while let (Some(tens), Some(ones)) = (digits.next(), digits.next()) {
        symbols.push(tens * 10 + ones);
    }
    if paired > 0 && !letters.is_empty() {
        symbols.push(CODE_B);
    }
    symbols.extend(letters.bytes().map(|b| u32::from(b) - 0x20));
    let check: u32 =
        symbols.iter().zip(std::iter::once(1).chain(1..)).map(|(symbol, weight)| symbol * weight).sum();
    symbols.extend([check % 103, STOP]);
    Some(symbols)
}

/// Code 128 with its white margin, at most `wide` dots across.
pub(crate) fn barcode(data: &str, wide: u32) -> Result<Bitmap, RenderError> {
    let symbols = symbols(data).ok_or(RenderError::Barcode)?;
    let bars = symbols.iter().filter_map(|symbol| SYMBOLS.get(*symbol as usize));
    let widths: Vec<u32> = bars.flat_map(|bars| bars.bytes().map(|b| u32::from(b - b'0'))).collect();
    let modules = widths.iter().sum::<u32>() + 2 * BAR_QUIET;
    let dots = BAR_DOTS.min(wide / modules);
    if dots == 0 {
        return Err(RenderError::Barcode);
    }
    let mut image = Bitmap::new(modules * dots, BAR_TOP + BAR_HEIGHT).map_err(|_| RenderError::Barcode)?;
    let mut at = BAR_QUIET;
    for (index, width) in widths.iter().enumerate() {
        if index % 2 == 0 {
            image.fill(at * dots, BAR_TOP, width * dots, BAR_HEIGHT);
        }
        at += width;
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What the standard says of every symbol: eleven modules, an even number of them black, no two alike.
    #[test]
    fn the_table_keeps_the_rules_of_its_standard() {
        let widths = |bars: &str| -> Vec<u32> { bars.bytes().map(|b| u32::from(b - b'0')).collect() };
        for bars in &SYMBOLS[..106] {
            let bars = widths(bars);
            assert_eq!(bars.iter().sum::<u32>(), 11);
            assert_eq!(bars.iter().step_by(2).sum::<u32>() % 2, 0);
        }
        assert_eq!(widths(SYMBOLS[106]).iter().sum::<u32>(), 13);
        assert_eq!(SYMBOLS.iter().collect::<BTreeSet<_>>().len(), 107);
    }

    /// The check symbol of "PJJ123C" is 54 (the example that textbooks of the code work out), when it is written letter
    /// by letter.
    #[test]
    fn the_check_symbol_is_the_weighted_sum() {
        assert_eq!(symbols("PJJ123C").unwrap(), [104, 48, 42, 42, 17, 18, 19, 35, 55, 106]);
        assert_eq!(symbols("112410000001").unwrap()[..4], [105, 11, 24, 10]);
        assert_eq!(symbols("12345A").unwrap()[..5], [105, 12, 34, 100, 21]);
        assert_eq!(symbols("中"), None);
        assert_eq!(symbols(""), None);
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_what_nearly_fits_is_made_smaller() {
        assert_eq!(qr("https://example.com/", QrLevel::M, 8, 384).unwrap().width(), (25 + 8) * 8);
        assert_eq!(qr("https://example.com/", QrLevel::M, 20, 384).unwrap().width(), (25 + 8) * 11);
        assert!(matches!(qr(&"x".repeat(4_000), QrLevel::M, 1, 384), Err(RenderError::Qr)));
        assert!(matches!(barcode(&"X".repeat(60), 384), Err(RenderError::Barcode)));
    }
}
