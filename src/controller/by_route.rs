//! Values by the number of a route, `RouteState::id`: numbers are given from zero on and never given back,
//! so that a list is the quickest table.

/// See the module.
#[derive(Debug)]
pub(super) struct ByRoute<T>(Vec<Option<T>>);

impl<T> Default for ByRoute<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Default> ByRoute<T> {
    /// The value of a route.
    pub(super) fn get(&self, route: u32) -> Option<&T> {
        self.0.get(route as usize)?.as_ref()
    }

    /// The value of a route, to change it.
    pub(super) fn get_mut(&mut self, route: u32) -> Option<&mut T> {
        self.0.get_mut(route as usize)?.as_mut()
    }

    /// The value of a route, made if there is none.
    pub(super) fn or_default(&mut self, route: u32) -> &mut T {
        let place = route as usize;
        if place >= self.0.len() {
            self.0.resize_with(place + 1, || None);
        }
        self.0[place].get_or_insert_default()
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.0).filter_map(|(route, value)| Some((route, value.as_ref()?)))
    }

    /// All of them, to change them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        (0..).zip(&mut self.0).filter_map(|(route, value)| Some((route, value.as_mut()?)))
    }
}
