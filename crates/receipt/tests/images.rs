//! Slips as dots: what a printer gets is what a browser shows, and a printed code can be read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod deck;

use receipt::escpos::{self, Printed};
use receipt::raster::{self, Strip};
use receipt::{Bitmap, Cut, Font, Line, Part, ReceiptDoc, Width, no_signatures, png, slip, svg};

fn black(image: &Bitmap) -> u32 {
    image.bytes().iter().map(|byte| byte.count_ones()).sum()
}

/// A slip as a job for a printer, read back: the same dots, a feed before each cut, the drawer in its place.
#[test]
fn a_job_read_back_is_the_image() {
    let font = Font::load(None).unwrap();
    let mut doc = slip::transaction(&deck::chip_sale());
    doc.push(Line::cut(Cut::Partial)).push(Line::drawer());
    let job = escpos::encode(&doc, Part::Merchant, &font, &no_signatures).unwrap();
    let strips = raster::strips(&doc, Part::Merchant, &font, &no_signatures).unwrap();
    let [Strip::Image(image), Strip::Cut(Cut::Partial), Strip::Drawer] = &strips[..] else {
        panic!("{strips:?}")
    };
    assert!(image.height() > 255, "long enough for several strips");
    assert_eq!(
        escpos::decode(&job).unwrap(),
        [
            Printed::Init,
            Printed::Image(image.clone()),
            Printed::FeedLines(4),
            Printed::Cut(Cut::Partial, 0),
            Printed::Drawer(0, 0x19, 0xFA),
        ]
    );
    assert_eq!(job[..2], [0x1B, 0x40]);
    assert_eq!(job[job.len() - 5..], [0x1B, 0x70, 0, 0x19, 0xFA]);
}

/// Every kind of slip in both widths has ink, and the PNG read back has the same dots.
#[test]
fn a_png_read_back_is_the_image() {
    let font = Font::load(None).unwrap();
    for width in [Width::W58, Width::W80] {
        let mut slip = deck::code_sale();
        slip.width = width;
        let doc = slip::transaction(&slip);
        let image = raster::image(&doc, Part::Merchant, &font, &no_signatures).unwrap();
        assert_eq!(image.width(), width.dots() + 80);
        let share = black(&image) * 100 / (image.width() * image.height());
        assert!((3..25).contains(&share), "{share} % black");
        let file = png::encode(&image).unwrap();
        let mut reader = ::png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut dots = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut dots).unwrap();
        let dots: Vec<u8> = dots.iter().map(|byte| !byte).collect();
        let read = Bitmap::from_bytes(image.width(), image.height(), dots).unwrap();
        assert_eq!(read, image);
    }
}

/// A signature by its reference stands on the merchant's copy only, and an unknown one leaves its place empty.
#[test]
fn a_signature_is_drawn_where_it_belongs() {
    let font = Font::load(None).unwrap();
    let doc = slip::transaction(&deck::swipe_sale_with_tip());
    let ink = |part, signatures: receipt::Signatures<'_>| {
        black(&raster::image(&doc, part, &font, signatures).unwrap())
    };
    let signature = black(&deck::signature("").unwrap());
    assert_eq!(ink(Part::Merchant, &deck::signature), ink(Part::Merchant, &no_signatures) + signature);
    assert_eq!(ink(Part::Cardholder, &deck::signature), ink(Part::Cardholder, &no_signatures));
}

/// Inverse lines are white on black over the whole width.
#[test]
fn inverse_text_is_white_on_black() {
    let font = Font::load(None).unwrap();
    let ink = |line: Line| {
        let mut doc = ReceiptDoc::new(Width::W58);
        doc.push(line);
        let strips = raster::strips(&doc, Part::Merchant, &font, &no_signatures).unwrap();
        let [Strip::Image(image)] = &strips[..] else { panic!("{strips:?}") };
        black(image)
    };
    assert_eq!(ink(Line::text("测试").inverse()), 384 * 30 - ink(Line::text("测试")));
    assert!(ink(Line::text("测试").bold()) > ink(Line::text("测试")));
}

/// No paper, no screen and no vector file shows a whole card number or what only the merchant may see.
#[test]
fn the_vector_file_shows_what_the_text_shows() {
    let doc = slip::transaction(&deck::chip_sale());
    let merchant = svg::render(&doc, Part::Merchant, &no_signatures).unwrap();
    let cardholder = svg::render(&doc, Part::Cardholder, &no_signatures).unwrap();
    assert!(merchant.contains("B06EAB7939A3EC73") && !cardholder.contains("B06EAB7939A3EC73"));
    for svg in [merchant, cardholder] {
        assert!(svg.contains("622424******0013") && !svg.contains(deck::PAN));
    }
}
