//! Paper that ends and a head that is hot.

use hal::{DeviceKind, ErrorKind, PrintJob, Printer, ReceiptDoc, Width};
use receipt::Line;

use super::{Held, Outcome, deed, expect_error, failed, row, shared, start, unexpected};
use crate::Fixture;
use crate::hands::Deed;
use crate::report::Report;

fn job(width: Width) -> PrintJob {
    let mut doc = ReceiptDoc::new(width);
    doc.push(Line::centre("HAL conformance"));
    for line in 1..=12 {
        doc.push(Line::pair(format!("line {line}"), "12.50"));
    }
    PrintJob::once(doc)
}

fn printed(fixture: &dyn Fixture, printer: &std::sync::Arc<Held<dyn Printer>>) -> Outcome<hal::Result<()>> {
    let printer = std::sync::Arc::clone(printer);
    let patience = fixture.patience();
    start(move || {
        let device = printer.lease.get()?;
        device.print(&job(device.abilities().width), &printer.lease.call(patience.saturating_mul(2)))
    })
    .join(patience.saturating_mul(3))
}

fn prints(fixture: &dyn Fixture, printer: &std::sync::Arc<Held<dyn Printer>>) -> Outcome<()> {
    printed(fixture, printer)?.map_err(unexpected)
}

fn problem(printer: &Held<dyn Printer>, wanted: Option<ErrorKind>) -> Outcome<()> {
    let found = printer.get()?.status().map_err(unexpected)?.problem();
    if found == wanted {
        return Ok(());
    }
    let say = |kind: Option<ErrorKind>| kind.map_or("none", ErrorKind::name);
    failed(format!("the status says {}, wanted {}", say(found), say(wanted)))
}

pub(crate) fn out_before(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    let outcome = (|| {
        let printer = shared::<dyn Printer>(fixture)?;
        prints(fixture, &printer)?;
        deed(fixture, Deed::PaperOut)?;
        problem(&printer, Some(ErrorKind::NoPaper))?;
        expect_error(printed(fixture, &printer)?, ErrorKind::NoPaper)?;
        deed(fixture, Deed::PaperIn)?;
        problem(&printer, None)?;
        prints(fixture, &printer)?;
        Ok(String::new())
    })();
    row(report, family, "paper out before a slip", outcome);
}

pub(crate) fn out_during(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    let outcome = (|| {
        let printer = shared::<dyn Printer>(fixture)?;
        deed(fixture, Deed::PaperEndsSoon)?;
        expect_error(printed(fixture, &printer)?, ErrorKind::NoPaper)?;
        deed(fixture, Deed::PaperIn)?;
        // The whole slip again, and not the rest of the old one.
        prints(fixture, &printer)?;
        problem(&printer, None)?;
        Ok(String::new())
    })();
    row(report, family, "paper out during a slip", outcome);
}

pub(crate) fn out_after(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    let outcome = (|| {
        let printer = shared::<dyn Printer>(fixture)?;
        prints(fixture, &printer)?;
        deed(fixture, Deed::PaperOut)?;
        problem(&printer, Some(ErrorKind::NoPaper))?;
        deed(fixture, Deed::PaperIn)?;
        problem(&printer, None)?;
        Ok(String::new())
    })();
    row(report, family, "paper out after a slip", outcome);
}

pub(crate) fn heat(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    let outcome = (|| {
        let printer = shared::<dyn Printer>(fixture)?;
        deed(fixture, Deed::Heat)?;
        problem(&printer, Some(ErrorKind::Overheated))?;
        let hot = printed(fixture, &printer)?;
        if let Err(error) = &hot
            && error.device != DeviceKind::Printer
        {
            return failed("the error names another device");
        }
        expect_error(hot, ErrorKind::Overheated)?;
        deed(fixture, Deed::Cool)?;
        prints(fixture, &printer)?;
        Ok(String::new())
    })();
    row(report, family, "overheated, then recovered", outcome);
}
