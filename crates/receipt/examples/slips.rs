//! Prints one slip of each kind in every form: `cargo run -p receipt --example slips -- DIR [FONT]`.

#[path = "../tests/deck/mod.rs"]
mod deck;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use receipt::{Font, Part, ReceiptDoc, Width, escpos, png, raster, slip, svg, text};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let folder = arguments.next().ok_or("which directory?")?;
    let font = Font::load(arguments.next().as_deref())?;
    fs::create_dir_all(&folder)?;
    let mut wide = deck::chip_sale();
    wide.width = Width::W80;
    let transactions = [
        ("chip-sale", deck::chip_sale()),
        ("chip-sale-80mm", wide),
        ("swipe-tip-signed", deck::swipe_sale_with_tip()),
        ("tap-without-pin", deck::tap_without_pin()),
        ("refund", deck::refund()),
        ("completion", deck::completion()),
        ("code-sale", deck::code_sale()),
    ];
    for (name, data) in &transactions {
        let doc = slip::transaction(data);
        write(&folder, &format!("{name}-merchant"), &doc, Part::Merchant, &font)?;
        write(&folder, &format!("{name}-cardholder"), &doc, Part::Cardholder, &font)?;
    }
    for (name, doc) in [
        ("settlement", slip::settlement(&deck::settlement())),
        ("settlement-list", slip::settlement(&deck::settlement_with_details())),
        ("notice", slip::notice(&deck::notice())),
    ] {
        write(&folder, name, &doc, Part::Merchant, &font)?;
    }
    Ok(())
}

fn write(folder: &Path, name: &str, doc: &ReceiptDoc, part: Part, font: &Font) -> Result<(), Box<dyn Error>> {
    let file = |extension: &str| folder.join(format!("{name}.{extension}"));
    fs::write(file("txt"), text::render(doc, part))?;
    fs::write(file("svg"), svg::render(doc, part, &deck::signature)?)?;
    fs::write(file("png"), png::encode(&raster::image(doc, part, font, &deck::signature)?)?)?;
    fs::write(file("escpos"), escpos::encode(doc, part, font, &deck::signature)?)?;
    Ok(())
}
