//! The tutorial's `image_grid`, also for pictures of different sizes.

use crate::picture::Picture;

use super::{Canvas, FigureError, Rgb, checked_pixels};

/// The rows, the columns and the cell size of a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The number of rows.
    pub rows: usize,
    /// The number of columns.
    pub cols: usize,
    /// The width and height of a cell in pixels.
    pub cell: (usize, usize),
}

impl Layout {
    /// Creates a layout with empty cells for `count` pictures. A missing number of rows or columns is computed from
    /// the other one; if both are missing, there are ceil(√count) columns.
    ///
    /// # Errors
    /// [`FigureError::TooFewCells`] if both are given and do not suffice.
    pub fn new(count: usize, rows: Option<usize>, cols: Option<usize>) -> Result<Self, FigureError> {
        let (rows, cols) = match (rows, cols) {
            (Some(rows), Some(cols)) => (rows, cols),
            (Some(rows), None) => (rows, count.div_ceil(rows)),
            (None, cols) => {
                let cols = cols.unwrap_or((count as f64).sqrt().ceil() as usize);
                (count.div_ceil(cols), cols)
            }
        };
        match rows.checked_mul(cols) {
            Some(cells) if cells < count => Err(FigureError::TooFewCells { count, rows, cols }),
            _ => Ok(Self { rows, cols, cell: (0, 0) }),
        }
    }

    /// Enlarges the cells, if necessary, to hold a picture of this width and height.
    ///
    /// # Errors
    /// [`FigureError::TooLarge`] if the grid then has more than [`MAX_PIXELS`](crate::picture::MAX_PIXELS).
    pub fn make_room(&mut self, (width, height): (usize, usize)) -> Result<(), FigureError> {
        self.cell = (self.cell.0.max(width), self.cell.1.max(height));
        let (width, height) = self.size();
        checked_pixels(width, height).map(|_| ())
    }

    /// The width and height of the grid in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.cols.saturating_mul(self.cell.0), self.rows.saturating_mul(self.cell.1))
    }
}

/// A grid that is filled row by row, picture by picture.
#[derive(Debug)]
pub struct Grid {
    canvas: Canvas,
    layout: Layout,
    filled: usize,
}

impl Grid {
    /// Creates an empty grid; fails as [`Canvas::new`] does.
    pub fn new(layout: Layout, background: Rgb) -> Result<Self, FigureError> {
        let (width, height) = layout.size();
        Ok(Self { canvas: Canvas::new(width, height, background)?, layout, filled: 0 })
    }

    /// Pastes a picture at its own size into the middle of the next cell.
    ///
    /// # Panics
    /// If the picture is larger than a cell, or all cells are full.
    pub fn add(&mut self, picture: &Picture) {
        let Layout { cols, cell, .. } = self.layout;
        let (x, y) = (self.filled % cols * cell.0, self.filled / cols * cell.1);
        let (left, top) = ((cell.0 - picture.width()) / 2, (cell.1 - picture.height()) / 2);
        self.canvas.paste(picture, x + left, y + top);
        self.filled += 1;
    }

    /// Returns the finished grid.
    pub fn into_canvas(self) -> Canvas {
        self.canvas
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_are_those_of_the_tutorial() {
        let shape = |count, rows, cols| Layout::new(count, rows, cols).map(|l| (l.rows, l.cols)).ok();
        let square: Vec<_> = [1, 2, 3, 4, 5, 7, 9, 10].map(|n| shape(n, None, None)).into();
        let wanted = [(1, 1), (1, 2), (2, 2), (2, 2), (2, 3), (3, 3), (3, 3), (3, 4)];
        assert_eq!(square, wanted.map(Some));
        assert_eq!(shape(5, Some(1), None), Some((1, 5)));
        assert_eq!(shape(5, Some(2), None), Some((2, 3)));
        assert_eq!(shape(5, None, Some(2)), Some((3, 2)));
        assert_eq!(shape(5, Some(3), Some(4)), Some((3, 4)));
        assert_eq!(shape(5, Some(2), Some(2)), None);
    }

    #[test]
    fn a_grid_with_too_many_pixels_is_refused() {
        let mut layout = Layout::new(4, None, None).expect("a layout");
        assert!(layout.make_room((6000, 100)).is_ok() && layout.make_room((100, 7000)).is_ok());
        assert!(matches!(
            layout.make_room((7000, 1)),
            Err(FigureError::TooLarge { width: 14000, height: 14000 })
        ));
        let mut layout = Layout::new(2, Some(usize::MAX), Some(usize::MAX)).expect("a layout");
        assert!(matches!(layout.make_room((1, 1)), Err(FigureError::TooLarge { .. })));
    }
}
